//! `fedgate demo`: a whole gate on loopback between a homeserver stand-in and remote servers, shown
//! honest and dishonest requests. What runs is the product's own path from end to end.

mod cast;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use comfy_table::{ContentArrangement, Table};
use http::Request;
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use self::cast::{Authority, Homeserver, Remote};
use super::out::Out;
use super::{Exit, Failure};
use crate::app::{App, Outside};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Sources};
use crate::net::NetMetrics;
use crate::net::address::AddressPolicy;
use crate::net::discovery::Ports;
use crate::net::dns::HickoryDns;
use crate::net::https::{HttpsTransport, Timeouts};
use crate::proto::ed25519::SigningKey;
use crate::proto::json::Object;
use crate::proto::sign::sign_request;
use crate::proto::signed_request::{RequestTarget, SignedRequest};
use crate::proto::x_matrix::header_value;
use crate::proto::{ServerName, Timestamp};
use crate::proxy::listener::Ending;

/// The name of the homeserver behind the gate.
const OWN_NAME: &str = "example.org";

/// The request all scenes are variations of: a transaction with one message.
const TARGET: &str = "/_matrix/federation/v1/send/1";
const BODY: &str = r#"{"edus":[],"pdus":[{"content":{"body":"hello"}}]}"#;
const TAMPERED: &str = r#"{"edus":[],"pdus":[{"content":{"body":"HELLO"}}]}"#;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// `fedgate demo`.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Print the scenes as JSON
    #[arg(long)]
    json: bool,
}

/// Why the demo could not be shown.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Certificate(#[from] rcgen::Error),
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Gate(#[from] crate::app::StartError),
    #[error("{0}")]
    Other(String),
}

impl DemoError {
    fn from_display(error: impl std::fmt::Display) -> Self {
        Self::Other(error.to_string())
    }
}

/// One request: what is special about it and what should come of it.
struct Scene {
    sent: &'static str,
    authorization: Option<String>,
    body: &'static str,
    expected_status: u16,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    sent: &'static str,
    status: u16,
    answer: String,
    reached_homeserver: bool,
    as_expected: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    scenes: Vec<Outcome>,
    homeserver_saw: Vec<String>,
    as_expected: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut Out) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(play()).map_err(|error| Failure {
        message: format!("error: the demo cannot be shown: {error}"),
        exit: Exit::Negative,
    })?;
    if arguments.json {
        out.json(&report)?;
    } else {
        print(&report, out)?;
    }
    Ok(if report.as_expected { Exit::Fine } else { Exit::Negative })
}

/// Sets the stage, plays every scene and takes the stage down again.
async fn play() -> Result<Report, DemoError> {
    let mut tasks = JoinSet::new();
    let now = SystemClock.now();
    let authority = Authority::new()?;
    let homeserver = Homeserver::start(&mut tasks).await?;
    let honest = Remote::start(&authority, [1; 32], now.plus_ms(DAY_MS), &mut tasks).await?;
    let yesterday = Timestamp::from_ms(now.as_ms().saturating_sub(DAY_MS));
    let stale = Remote::start(&authority, [2; 32], yesterday, &mut tasks).await?;
    let silent = Remote::unreachable(closed_port().await?, [3; 32])?;
    let app = start_gate(&homeserver, &authority).await?;
    let (address, stop) = (app.address(), app.stopper());
    let serving = tokio::spawn(app.serve());

    let mut scenes = Vec::new();
    for scene in script(&honest, &stale, &silent)? {
        let before = homeserver.seen().len();
        let (status, answer) = send(address, &scene).await?;
        let reached_homeserver = homeserver.seen().len() > before;
        let expected_reach = scene.expected_status == 200;
        scenes.push(Outcome {
            sent: scene.sent,
            status,
            answer,
            reached_homeserver,
            as_expected: status == scene.expected_status && reached_homeserver == expected_reach,
        });
    }
    stop.send_replace(Ending::Stop);
    serving.await.map_err(DemoError::from_display)?;
    let as_expected = scenes.iter().all(|outcome| outcome.as_expected);
    Ok(Report { scenes, homeserver_saw: homeserver.seen(), as_expected })
}

/// A gate as `fedgate run` would start it, but on free ports, and trusting the demo's authority.
async fn start_gate(homeserver: &Homeserver, authority: &Authority) -> Result<App, DemoError> {
    let settings = format!(
        "server_name = \"{OWN_NAME}\"\nhomeserver = \"http://127.0.0.1:{}\"\n\
         [listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [keys]\nsources = [\"origin\"]\nstore = \"\"\n",
        homeserver.port
    );
    let config =
        Config::load(&Sources::from_text("demo", settings)).map_err(DemoError::from_display)?;
    // The remote servers live on loopback, which the gate would not dial otherwise.
    let loopback = "127.0.0.0/8".parse().map_err(DemoError::from_display)?;
    let net_metrics = NetMetrics::new().map_err(DemoError::from_display)?;
    let dns = HickoryDns::from_system(&net_metrics).map_err(DemoError::from_display)?;
    let transport = HttpsTransport::new(
        Arc::new(dns),
        AddressPolicy::new(vec![loopback]),
        authority.roots()?,
        None,
        Ports::default(),
        Timeouts::default(),
        &net_metrics,
    )?;
    let outside =
        Outside { clock: Arc::new(SystemClock), transport: Arc::new(transport), net_metrics };
    Ok(App::bind(config, outside).await?)
}

/// A port of this machine where nobody listens.
async fn closed_port() -> Result<u16, DemoError> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

fn script(honest: &Remote, stale: &Remote, silent: &Remote) -> Result<Vec<Scene>, DemoError> {
    let thief = SigningKey::from_seed(&[9; 32]);
    let good = sign(honest, &honest.key, OWN_NAME)?;
    let scene = |sent, authorization: &str, body, expected_status| Scene {
        sent,
        authorization: Some(authorization.to_owned()),
        body,
        expected_status,
    };
    Ok(vec![
        scene("signed by its origin", &good, BODY, 200),
        scene("forged: signed with another key", &sign(honest, &thief, OWN_NAME)?, BODY, 401),
        scene("tampered: body changed after signing", &good, TAMPERED, 401),
        scene("signed with an expired key", &sign(stale, &stale.key, OWN_NAME)?, BODY, 401),
        scene(
            "signed for another server",
            &sign(honest, &honest.key, "elsewhere.example")?,
            BODY,
            401,
        ),
        Scene { sent: "not signed at all", authorization: None, body: BODY, expected_status: 401 },
        scene(
            "from a server that cannot be asked for its key",
            &sign(silent, &silent.key, OWN_NAME)?,
            BODY,
            503,
        ),
        scene("signed by its origin, again", &good, BODY, 200),
    ])
}

fn sign(remote: &Remote, key: &SigningKey, destination: &str) -> Result<String, DemoError> {
    let target = RequestTarget::parse(TARGET.as_bytes()).map_err(DemoError::from_display)?;
    let destination = ServerName::parse(destination).map_err(DemoError::from_display)?;
    let content = Object::scan(BODY.as_bytes()).map_err(DemoError::from_display)?;
    let request = SignedRequest {
        method: "PUT",
        target: &target,
        origin: &remote.name,
        destination: &destination,
        content: Some(&content),
    };
    let signature = sign_request(&request, key);
    Ok(header_value(&remote.name, &destination, &remote.key_id, &signature))
}

/// Sends one scene's request on a connection of its own: status, and what the answer says.
async fn send(gate: SocketAddr, scene: &Scene) -> Result<(u16, String), DemoError> {
    let tcp = TcpStream::connect(gate).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(tcp))
            .await
            .map_err(DemoError::from_display)?;
    let mut request = Request::put(TARGET).header("host", OWN_NAME);
    if let Some(authorization) = &scene.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Full::from(scene.body)).map_err(DemoError::from_display)?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>((status, body))
    };
    let (exchanged, _ended) = tokio::join!(exchange, connection);
    let (status, body) = exchanged.map_err(DemoError::from_display)?;
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = match (answer.get("errcode"), answer.get("error")) {
        (Some(errcode), Some(error)) => format!(
            "{}: {}",
            errcode.as_str().unwrap_or_default(),
            error.as_str().unwrap_or_default()
        ),
        _ => "the homeserver's answer".to_owned(),
    };
    Ok((status, text))
}

fn print(report: &Report, out: &mut Out) -> Result<(), Failure> {
    out.line(&format!(
        "A gate stands in front of the homeserver {OWN_NAME}. Each line is one request\n\
         PUT {TARGET} to it:\n"
    ))?;
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["what was sent", "gate", "answer", "homeserver saw it"]);
    for scene in &report.scenes {
        let seen = if scene.reached_homeserver { "yes" } else { "no" };
        table.add_row([scene.sent, &scene.status.to_string(), &scene.answer, seen]);
    }
    out.line(&table.to_string())?;
    out.line("\nAll the homeserver saw:")?;
    for line in &report.homeserver_saw {
        out.line(&format!("  {line}"))?;
    }
    out.line(if report.as_expected {
        "\nEverything went as it should: only what its origin signed came through."
    } else {
        "\nSomething did not go as it should; please report it."
    })?;
    Ok(())
}

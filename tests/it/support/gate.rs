//! A whole gate on free ports, with an injected clock and federation.

use std::net::SocketAddr;
use std::sync::Arc;

use fedgate::app::{App, Live, Outside, StartError};
use fedgate::clock::{Clock, ManualClock};
use fedgate::config::{Config, Sources};
use fedgate::net::NetMetrics;
use fedgate::proto::Timestamp;
use fedgate::proxy::listener::Ending;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::federation::FakeFederation;
use super::{Homeserver, NOW_MS, OWN_NAME, Origin, panics};

/// The homeserver's signing key, as Synapse writes it: 32 times the byte 9.
pub const OWN_KEY_FILE: &str = "ed25519 a_own CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk\n";

/// What differs from an ordinary gate.
#[derive(Default)]
pub struct GateOptions {
    pub tls: bool,
    /// Further lines of the settings file.
    pub settings: &'static str,
    /// Further lines of its section `listen`.
    pub listen: &'static str,
    /// The list of own names, instead of the one.
    pub names: &'static str,
    /// Where keys are kept; nowhere unless set.
    pub store: String,
    /// Where keys come from; from the origin unless set.
    pub sources: &'static str,
    /// Further lines of its section `keys`.
    pub keys: &'static str,
    /// The lines of the section `key_server`; `DIR` stands for a folder with the key file `own.key`.
    pub key_server: &'static str,
    /// The file with the token of the admin API.
    pub token_file: Option<String>,
    /// Where requests go instead of the stand-in's port.
    pub homeserver: Option<String>,
    /// The time, instead of one that stands still.
    pub clock: Option<Arc<dyn Clock>>,
}

pub struct Gate {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub federation: Arc<FakeFederation>,
    pub clock: Arc<ManualClock>,
    /// The certificate of the gate's CA, in DER.
    pub ca: Option<Vec<u8>>,
    stop: watch::Sender<Ending>,
    live: Arc<Live>,
    serving: JoinHandle<()>,
    files: tempfile::TempDir,
}

impl Drop for Gate {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panics::assert_none();
        }
    }
}

impl Gate {
    pub async fn start(homeserver: &Homeserver) -> Self {
        Self::start_with(homeserver, GateOptions::default()).await
    }

    pub async fn start_tls(homeserver: &Homeserver) -> Self {
        Self::start_with(homeserver, GateOptions { tls: true, ..GateOptions::default() }).await
    }

    pub async fn start_with(homeserver: &Homeserver, options: GateOptions) -> Self {
        let upstream = format!("http://127.0.0.1:{}", homeserver.port);
        Self::start_before(&upstream, options).await
    }

    /// A gate in front of whatever the setting `homeserver` says.
    pub async fn start_before(upstream: &str, options: GateOptions) -> Self {
        panics::watch();
        let files = tempfile::tempdir().unwrap();
        let upstream = options.homeserver.as_deref().unwrap_or(upstream);
        let names = match options.names {
            "" => format!("server_name = \"{OWN_NAME}\""),
            names => format!("server_names = {names}"),
        };
        let sources = if options.sources.is_empty() { "[\"origin\"]" } else { options.sources };
        let mut listen = format!("address = \"127.0.0.1:0\"\n{}\n", options.listen);
        let mut ca = None;
        if options.tls {
            ca = Some(write_certificate(files.path()));
            let dir = files.path().display();
            listen.push_str(&format!(
                "tls_certificate = \"{dir}/chain.pem\"\ntls_private_key = \"{dir}/key.pem\"\n"
            ));
        }
        let token = options.token_file.map(|path| format!("token_file = {path:?}\n"));
        let token = token.unwrap_or_default();
        std::fs::write(files.path().join("own.key"), OWN_KEY_FILE).unwrap();
        let folder = files.path().display().to_string();
        let key_server = options.key_server.replace("DIR", &folder);
        let text = format!(
            "{names}\nhomeserver = \"{upstream}\"\n{}\n[listen]\n{listen}\n\
             [admin]\naddress = \"127.0.0.1:0\"\n{token}[key_server]\n{key_server}\n[keys]\nsources = {sources}\nstore = \"{}\"\n{}\n",
            options.settings, options.store, options.keys
        );
        let path = files.path().join("fedgate.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::load(&Sources::default().with_file(Some(path))).unwrap();
        let federation = Arc::new(FakeFederation::default());
        let clock = Arc::new(ManualClock::new(Timestamp::from_ms(NOW_MS)));
        let outside = Outside {
            clock: options.clock.unwrap_or_else(|| clock.clone()),
            transport: federation.clone(),
            net_metrics: NetMetrics::new().unwrap(),
        };
        let app = App::bind(config, outside).await.unwrap();
        Self {
            address: app.address(),
            admin: app.admin_address(),
            federation,
            clock,
            ca,
            stop: app.stopper(),
            live: app.live(),
            serving: tokio::spawn(app.serve()),
            files,
        }
    }

    /// A server whose key the gate can fetch.
    pub fn origin(&self, name: &str) -> Origin {
        let origin = Origin::new(name);
        self.federation.publish(&origin.name, origin.document());
        origin
    }

    /// Tells the gate to stop and waits until it has.
    pub async fn stop(mut self) {
        self.stop.send_replace(Ending::Stop);
        (&mut self.serving).await.unwrap();
    }

    /// Tells the gate that another process listens on its socket, and waits until it has ended.
    pub async fn hand_over(mut self) {
        self.stop.send_replace(Ending::HandOver);
        (&mut self.serving).await.unwrap();
    }

    /// Puts settings in force that are what `change` makes of the present ones.
    pub async fn reload(&self, change: impl FnOnce(&str) -> String) -> Result<(), StartError> {
        let path = self.files.path().join("fedgate.toml");
        self.live.apply(crate::reload::changed(path, change)).await
    }

    /// Puts settings in force that differ in something else than what is tested.
    pub async fn reload_unrelated(&self) {
        let other = "[listen]\nother_paths = \"forward\"\n";
        self.reload(|text| text.replace("[listen]\n", other)).await.unwrap();
    }

    /// Tells the gate to stop.
    pub fn begin_stop(&self) {
        self.stop.send_replace(Ending::Stop);
    }

    /// What the admin listener answers at `path`.
    pub async fn admin_get(&self, path: &str) -> super::Answer {
        let mut client = super::Client::plain(self.admin).await;
        client.request("GET", path, &[("host", "admin")], None).await
    }

    /// The requests refused so far, by reason code.
    pub async fn refusals(&self) -> Vec<(String, f64)> {
        let answer = self.admin_get("/metrics").await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let counts = text.lines().filter_map(|line| {
            let labels = line.strip_prefix("fedgate_requests_total{")?;
            let (labels, count) = labels.split_once("} ")?;
            let reason = labels.split("reason=\"").nth(1)?.split('"').next()?;
            let is_refusal = labels.contains("verdict=\"refused\"");
            is_refusal.then(|| (reason.to_owned(), count.parse().unwrap()))
        });
        counts.collect()
    }

    /// Waits until something has been refused: the count follows the answer.
    pub async fn refused(&self) -> Vec<(String, f64)> {
        loop {
            let refusals = self.refusals().await;
            if !refusals.is_empty() {
                return refusals;
            }
        }
    }

    /// The value of a line of the metrics, zero when it is not there.
    pub async fn metric(&self, line: &str) -> f64 {
        let answer = self.admin_get("/metrics").await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// Writes chain and key for the gate's name, and returns the CA's certificate.
pub fn write_certificate(dir: &std::path::Path) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![OWN_NAME.to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    std::fs::write(dir.join("chain.pem"), leaf.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    issuer.der().to_vec()
}

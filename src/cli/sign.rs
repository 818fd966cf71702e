//! `fedgate sign`: makes the `Authorization` header for a request, as a homeserver would.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::out::Out;
use super::{Exit, Failure};
use crate::keys::signing_key_file;
use crate::proto::ServerName;
use crate::proto::json::Object;
use crate::proto::limits::BODY_BYTES_MAX;
use crate::proto::sign::sign_request;
use crate::proto::signed_request::{RequestTarget, SignedRequest};
use crate::proto::signing_keys::SigningKeys;
use crate::proto::x_matrix::header_value;

/// `fedgate sign`.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The homeserver's signing key file, as Synapse writes it; its first key signs
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// The server name that signs
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    origin: ServerName,
    /// The server name the request is for
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    destination: ServerName,
    /// The method
    #[arg(long, default_value = "GET")]
    method: String,
    /// The request target: path and query, exactly as they will be sent
    #[arg(long, value_name = "TARGET", value_parser = target)]
    target: RequestTarget,
    /// The body, one JSON object; - reads standard input
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// Print the whole request, as `fedgate verify` reads it
    #[arg(long, conflicts_with = "json")]
    http: bool,
    /// Print the header, the key and the signed bytes as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Signed<'a> {
    authorization: &'a str,
    key_id: &'a str,
    verify_key: String,
    signed: &'a str,
}

/// Reads a server name given on the command line.
pub(super) fn server_name(text: &str) -> Result<ServerName, String> {
    ServerName::parse(text).map_err(|error| error.to_string())
}

fn target(text: &str) -> Result<RequestTarget, String> {
    RequestTarget::parse(text.as_bytes()).map_err(|error| error.to_string())
}

pub(super) fn run(arguments: &Arguments, out: &mut Out) -> Result<Exit, Failure> {
    let keys = read_keys(&arguments.key_file)?;
    let (id, key) = keys.first();
    let body = arguments.body.as_deref().map(read_body).transpose()?;
    let content = match &body {
        Some(body) => Some(Object::scan(body).map_err(|error| {
            Failure::usage(format!("error: the body is not acceptable JSON: {error}"))
        })?),
        None => None,
    };
    // What a homeserver would refuse should not be signed either.
    if matches!(arguments.method.as_str(), "PUT" | "POST") != content.is_some() {
        return Err(Failure::usage(
            "error: PUT and POST have a body (--body FILE, which may hold just {}), other methods \
             have none",
        ));
    }
    let request = SignedRequest {
        method: &arguments.method,
        target: &arguments.target,
        origin: &arguments.origin,
        destination: &arguments.destination,
        content: content.as_ref(),
    };
    let signature = sign_request(&request, key);
    let header = header_value(&arguments.origin, &arguments.destination, id, &signature);
    if arguments.http {
        print_request(arguments, &header, body.as_deref(), out)?;
    } else if arguments.json {
        let signed = super::verify::signed_text(&request);
        out.json(&Signed {
            authorization: &header,
            key_id: id.as_str(),
            verify_key: key.verify_key().to_base64(),
            signed: &signed,
        })?;
    } else {
        out.line(&format!("Authorization: {header}"))?;
    }
    Ok(Exit::Fine)
}

fn print_request(
    arguments: &Arguments,
    header: &str,
    body: Option<&[u8]>,
    out: &mut Out,
) -> Result<(), Failure> {
    let (method, target, host) = (&arguments.method, &arguments.target, &arguments.destination);
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {header}\r\n");
    let Some(body) = body else { return Ok(out.print(&format!("{head}\r\n"))?) };
    let body = std::str::from_utf8(body).map_err(std::io::Error::other)?;
    let length = body.len();
    let framing = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    Ok(out.print(&format!("{head}{framing}{body}"))?)
}

/// Reads a file of signing keys, and tells whom it may concern who else can read it.
pub(super) fn read_keys(path: &Path) -> Result<SigningKeys, Failure> {
    let file =
        signing_key_file::read(path).map_err(|error| Failure::usage(format!("error: {error}")))?;
    if let Some(warning) = file.warning {
        Out::stderr().print_last(&format!("warning: {warning}"));
    }
    Ok(file.keys)
}

fn read_body(path: &Path) -> Result<Vec<u8>, Failure> {
    read(path, u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX))
}

/// Reads a file, or standard input for `-`, of at most `bytes_max` bytes.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let result = if path == Path::new("-") {
        std::io::stdin().lock().take(bytes_max + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes))
    };
    let shown = path.display();
    match result {
        Ok(read) if u64::try_from(read).is_ok_and(|read| read <= bytes_max) => Ok(bytes),
        Ok(_) => Err(Failure::usage(format!("error: {shown} has more than {bytes_max} bytes"))),
        Err(error) => Err(Failure::usage(format!("error: {shown} cannot be read: {error}"))),
    }
}

//! The well-known document by which a server delegates to another name (server-server API,
//! `GET /.well-known/matrix/server`).

use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;
use http::Uri;
use serde::Deserialize;

use super::{DialHost, Endpoint, dns_tls_name};
use crate::net::NetError;
use crate::proto::ServerName;
use crate::proto::server_name::Host;

/// Largest document that is read, in bytes: Synapse's limit.
pub const WELL_KNOWN_BYTES_MAX: usize = 50 * 1024;

/// Most redirects that are followed, as many as Synapse follows (R78).
const REDIRECTS_MAX: usize = 5;

/// Longest redirect target in bytes.
const LOCATION_BYTES_MAX: usize = 2_048;

const PATH: &str = "/.well-known/matrix/server";

/// Gets something over HTTPS, from one place, without following anything.
#[async_trait]
pub trait HttpsGet: Send + Sync {
    /// Gets `target` (path and query) from `endpoint`. The body is at most `body_bytes_max` long.
    async fn get(
        &self,
        endpoint: &Endpoint,
        target: &str,
        body_bytes_max: usize,
    ) -> Result<HttpsAnswer, NetError>;
}

/// The answer to one HTTPS request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsAnswer {
    /// HTTP status.
    pub status: u16,
    /// The `Location` header, as it came.
    pub location: Option<Bytes>,
    /// The `Cache-Control` headers as they came, joined by commas.
    pub cache_control: Option<Bytes>,
    /// The body, read whole; empty for a redirect (status 3xx), whose body is not read.
    pub body: Bytes,
}

/// What a valid document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The delegated name.
    pub server: ServerName,
    /// The `Cache-Control` of the answer that held the document; that of redirects does not count.
    pub cache_control: Option<Bytes>,
}

/// The URL at which the search for the document of `host` begins.
pub fn url(host: &str) -> String {
    format!("https://{host}{PATH}")
}

/// Gets the delegated name of `host` from port `port`.
///
/// # Errors
///
/// Any kind of [`NetError`]; [`NetError::Http`] when there is an answer and it is not a valid
/// document. The discovery goes on without it in every case (R74).
pub async fn fetch(host: &str, port: u16, https: &dyn HttpsGet) -> Result<Delegation, NetError> {
    let mut url = Url { host: UrlHost::Dns(host.to_owned()), port: None, target: PATH.to_owned() };
    let mut visited = Vec::new();
    loop {
        let answer = https.get(&url.endpoint(port)?, &url.target, WELL_KNOWN_BYTES_MAX).await?;
        match answer.status {
            200 => {
                let server = delegated_name(&answer.body).map_err(|cause| url.failed(cause))?;
                return Ok(Delegation { server, cache_control: answer.cache_control });
            }
            301 | 302 | 303 | 307 | 308 => {}
            status => return Err(url.failed(&format!("status {status}"))),
        }
        if visited.len() == REDIRECTS_MAX {
            return Err(url.failed(&format!("more than {REDIRECTS_MAX} redirects")));
        }
        let next = url.redirected(answer.location.as_deref()).map_err(|cause| url.failed(cause))?;
        visited.push(url);
        if visited.contains(&next) {
            return Err(next.failed("redirects in a circle"));
        }
        url = next;
    }
}

/// The delegated name in a document; unknown members are ignored, repeated ones refused.
fn delegated_name(body: &[u8]) -> Result<ServerName, &'static str> {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(rename = "m.server", borrow)]
        server: std::borrow::Cow<'a, str>,
    }
    const WRONG: &str = "the document is not a JSON object with one text member m.server";
    // serde reads a struct from an array too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(WRONG);
    }
    let document: Document<'_> = serde_json::from_slice(body).map_err(|_cause| WRONG)?;
    ServerName::parse(&document.server).map_err(|_cause| "m.server is not a server name")
}

/// An `https` URL.
#[derive(Debug, PartialEq, Eq)]
struct Url {
    host: UrlHost,
    port: Option<u16>,
    /// Path and query.
    target: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum UrlHost {
    Dns(String),
    Ip(IpAddr),
}

impl Url {
    /// Where the URL leads, with `default_port` where it brings none.
    fn endpoint(&self, default_port: u16) -> Result<Endpoint, NetError> {
        let port = self.port.unwrap_or(default_port);
        let (host, tls_name) = match &self.host {
            UrlHost::Ip(ip) => (DialHost::Ip(*ip), (*ip).into()),
            UrlHost::Dns(name) => (DialHost::Name(name.clone()), dns_tls_name(name)?),
        };
        Ok(Endpoint { host, port, host_header: self.authority(), tls_name })
    }

    fn authority(&self) -> String {
        let host = match &self.host {
            UrlHost::Dns(name) => name.clone(),
            UrlHost::Ip(IpAddr::V4(ip)) => ip.to_string(),
            UrlHost::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
        };
        self.port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
    }

    /// Where a redirect from here leads: an `https` URL, or an absolute path on the same host. The
    /// authority is held to the grammar of server names, so there are no credentials in it.
    fn redirected(&self, location: Option<&[u8]>) -> Result<Self, &'static str> {
        let location = location.ok_or("redirects without a Location")?;
        if location.len() > LOCATION_BYTES_MAX {
            return Err("redirects to a URL that is too long");
        }
        let same_host = location.starts_with(b"/") && !location.starts_with(b"//");
        let same_scheme = location.starts_with(b"//");
        let absolute = if same_scheme { [b"https:", location].concat() } else { location.to_vec() };
        let uri = Uri::try_from(absolute).map_err(|_cause| "redirects to no proper URL")?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        if same_host {
            return Ok(Self { host: self.host.clone(), port: self.port, target });
        }
        if uri.scheme_str() != Some("https") {
            return Err("redirects to a URL that is not https");
        }
        let authority = uri.authority().ok_or("redirects to a URL without a host")?;
        let name = ServerName::parse(authority.as_str())
            .map_err(|_cause| "redirects to a host that is neither a DNS name nor an address")?;
        let host = match name.host() {
            Host::Dns(name) => UrlHost::Dns(name.to_owned()),
            Host::Ipv4(ip) => UrlHost::Ip(ip.into()),
            Host::Ipv6(ip) => UrlHost::Ip(ip.into()),
        };
        Ok(Self { host, port: name.port(), target })
    }

    /// The error that getting this URL ended with. Its path is not shown: it may be of a stranger's
    /// choice and any length.
    fn failed(&self, cause: &str) -> NetError {
        NetError::Http(format!("https://{}: {cause}", self.authority()))
    }
}

#[cfg(test)]
mod tests;

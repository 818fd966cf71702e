//! The API over HTTP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::api::{Api, Failure, PREFIX, bad, failure};
use super::token::Token;
use super::{Readiness, guard};

/// Largest request body, in bytes: a change of one rule has a few hundred.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Time for a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What is served besides metrics.
pub struct Served {
    /// The API.
    pub api: Api,
    /// What the API asks for; without, it serves this machine only.
    pub token: Option<Token>,
    /// What `/ready` asks.
    pub readiness: Arc<dyn Readiness>,
}

/// Whether the path is [`PREFIX`] or below.
pub(super) fn is_api(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Served {
    /// Answers a request for a path of the API.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
    ) -> Response<Full<Bytes>> {
        let (request, body) = request.into_parts();
        let target = request.uri.path_and_query().map_or("", |target| target.as_str());
        let target = target.strip_prefix(PREFIX).unwrap_or_default();
        let answer = async {
            guard::check(self.token.as_ref(), peer, &request)?;
            self.api.call(request.method.as_str(), target, &read(body).await?).await
        };
        let answer = answer.await;
        let status = answer.as_ref().map_or_else(|failure| failure.status, |_| StatusCode::OK);
        if request.method != Method::GET {
            let (method, status) = (&request.method, status.as_u16());
            let path = target;
            tracing::info!(target: "fedgate::admin", %peer, %method, path, status, "asked to act");
        }
        match answer {
            Ok(value) => response(status, &value),
            Err(failure) => failed(&failure),
        }
    }
}

async fn read(body: Incoming) -> Result<Bytes, Failure> {
    match timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(failure(
            StatusCode::PAYLOAD_TOO_LARGE,
            format_args!("the body has more than {BODY_BYTES_MAX} bytes"),
        )),
        Ok(Err(error)) => Err(bad(error)),
        Err(_elapsed) => Err(failure(
            StatusCode::REQUEST_TIMEOUT,
            format_args!("the body did not arrive within {BODY_TIMEOUT:?}"),
        )),
    }
}

fn response(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{value}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn failed(failure: &Failure) -> Response<Full<Bytes>> {
    let mut response = response(failure.status, &json!({ "error": failure.text }));
    let headers = response.headers_mut();
    if let Some(allow) = failure.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if failure.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

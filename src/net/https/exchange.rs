//! One HTTP/1.1 request and its answer on a connection of its own.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;

use super::Timeouts;
use super::dialer::bounded;
use crate::net::NetError;
use crate::net::discovery::well_known::HttpsAnswer;
use crate::net::transport::FederationRequest;

/// Largest head of an answer in bytes, and the size of the read buffer. Real ones are below 2 KiB,
/// or 8 KiB with much policy from a web server.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Bytes on the wire that one byte of the body may take: a chunk of one byte takes six.
const WIRE_BYTES_PER_BYTE_MAX: u64 = 6;

/// Most header fields of an answer: hyper's default, written out.
const HEADERS_MAX: usize = 100;

const USER_AGENT: &str = concat!("fedgate/", env!("CARGO_PKG_VERSION"));

/// Sends `request` on `stream` and reads the whole answer. The connection is closed when this
/// returns, or is dropped.
pub(super) async fn exchange<S>(
    stream: S,
    host_header: &str,
    request: FederationRequest,
    timeouts: Timeouts,
) -> Result<HttpsAnswer, NetError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let bytes_max = request.response_bytes_max;
    let request = http_request(host_header, request)?;
    // hyper bounds neither leading zeros of a chunk's size nor interim answers. What is cut off here is
    // no whole answer: a body that lasts until the connection closes is too large long before.
    let wire_bytes_max = HEAD_BYTES_MAX as u64 + WIRE_BYTES_PER_BYTE_MAX * bytes_max as u64;
    let (read_half, write_half) = tokio::io::split(stream);
    let stream = tokio::io::join(read_half.take(wire_bytes_max), write_half);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(http_error)?;
    let mut answer = pin!(async move {
        let limit = timeouts.head;
        let response = timeout(limit, sender.send_request(request))
            .await
            .map_err(|_elapsed| NetError::Timeout(format!("no answer within {limit:?}")))?
            .map_err(http_error)?;
        let limit = timeouts.body;
        timeout(limit, read(response, bytes_max)).await.map_err(|_elapsed| {
            NetError::Timeout(format!("the answer did not end within {limit:?}"))
        })?
    });
    // The connection has to be polled for the answer to move on. It may end first, with the rest of
    // the answer in memory, or with an error that the answer then gets.
    tokio::select! {
        result = &mut answer => result,
        _ended = connection => answer.await,
    }
}

fn http_request(
    host_header: &str,
    request: FederationRequest,
) -> Result<Request<Full<Bytes>>, NetError> {
    let unfit = |error: http::Error| NetError::Http(format!("the request: {error}"));
    let target = Uri::try_from(request.target).map_err(|error| unfit(error.into()))?;
    let builder = Request::builder()
        .uri(target)
        .header(header::HOST, host_header)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close");
    match request.body {
        None => builder.method("GET").body(Full::default()),
        Some(body) => builder
            .method("POST")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body)),
    }
    .map_err(unfit)
}

/// Reads the body of `response`, at most `bytes_max` bytes of it.
async fn read(response: Response<Incoming>, bytes_max: usize) -> Result<HttpsAnswer, NetError> {
    let too_large = || NetError::TooLarge(format!("the answer is larger than {bytes_max} bytes"));
    let (head, mut incoming) = response.into_parts();
    // None was offered, and unpacking could multiply what was bounded.
    if head.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(NetError::Http("the answer is compressed, unasked".to_owned()));
    }
    let mut body = BytesMut::new();
    if !head.status.is_redirection() {
        // What is declared too large is not read at all.
        if incoming.size_hint().lower() > bytes_max as u64 {
            return Err(too_large());
        }
        while let Some(frame) = incoming.frame().await {
            if let Ok(data) = frame.map_err(http_error)?.into_data() {
                if data.len() > bytes_max - body.len() {
                    return Err(too_large());
                }
                body.extend_from_slice(&data);
            }
        }
    }
    let cache_control: Vec<&[u8]> =
        head.headers.get_all(header::CACHE_CONTROL).iter().map(|value| value.as_bytes()).collect();
    Ok(HttpsAnswer {
        status: head.status.as_u16(),
        cache_control: (!cache_control.is_empty()).then(|| cache_control.join(&b","[..]).into()),
        location: head
            .headers
            .get(header::LOCATION)
            .map(|value| Bytes::copy_from_slice(value.as_bytes())),
        body: body.freeze(),
    })
}

fn http_error(error: hyper::Error) -> NetError {
    if error.is_parse_too_large() {
        return NetError::TooLarge("the head of the answer is too large".to_owned());
    }
    let cause = std::error::Error::source(&error)
        .map_or_else(String::new, |cause| format!(": {}", bounded(&cause)));
    NetError::Http(format!("{}{cause}", bounded(&error)))
}

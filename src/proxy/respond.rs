//! Writes a refusal to the client.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;

use crate::gate::Refusal;

/// The answer to a refusal: a Matrix error (R7).
pub struct Answer {
    /// Status and header fields.
    pub header: ResponseHeader,
    /// The JSON body.
    pub body: Bytes,
}

impl Answer {
    /// The answer for `refusal`.
    pub fn new(refusal: &Refusal) -> Result<Self> {
        let rejection = refusal.rejection;
        let mut object = serde_json::Map::new();
        object.insert("errcode".into(), rejection.errcode().into());
        object.insert("error".into(), rejection.public_text().into());
        let body = Bytes::from(serde_json::Value::Object(object).to_string());
        let mut header = ResponseHeader::build(rejection.status(), Some(4))?;
        header.insert_header(CONTENT_TYPE, "application/json")?;
        header.insert_header(CONTENT_LENGTH, body.len())?;
        if let Some(after) = refusal.retry_after {
            header.insert_header(RETRY_AFTER, whole_seconds(after))?;
        }
        Ok(Self { header, body })
    }
}

/// `Retry-After` in whole seconds, rounded up: never "now" when it is not.
fn whole_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

/// Answers a request on the client's own session. When part of the body is still to come, pingora
/// announces and makes the end of the connection, so that nothing of it is read as a request.
pub async fn refuse(session: &mut ServerSession, refusal: &Refusal) -> Result<()> {
    let Answer { header, body } = Answer::new(refusal)?;
    session.write_response_header(Box::new(header)).await?;
    session.write_response_body(body, true).await
}

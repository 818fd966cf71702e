//! Writes what fedgate itself answers.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::{ErrorType, OrErr, Result};
use serde::Serialize;

use crate::gate::{Refusal, Rejection};
use crate::notary::KeyServerError;

/// When to try again after there was no memory for an answer: about as long as the readers of others
/// take.
const ANSWERS_RETRY: Duration = Duration::from_secs(5);

/// The answer to a refusal: a Matrix error (R7).
pub struct Answer {
    /// Status and header fields.
    pub header: ResponseHeader,
    /// The JSON body.
    pub body: Bytes,
}

/// The body of a refusal, as the specification has it ("Standard error response").
#[derive(Serialize)]
struct MatrixError<'a> {
    errcode: &'static str,
    error: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Answer {
    /// The answer for `refusal`.
    pub fn new(refusal: &Refusal) -> Result<Self> {
        let rejection = refusal.rejection;
        let mut error = Cow::from(refusal.text.as_deref().unwrap_or(rejection.public_text()));
        if rejection.tells_detail() {
            error = format!("{error}: {}", refusal.detail).into();
        }
        let limited = refusal.retry_after.filter(|_| rejection == Rejection::RateLimited);
        let retry_after_ms = limited.map(whole_milliseconds);
        let error = MatrixError { errcode: rejection.errcode(), error, retry_after_ms };
        let body = serde_json::to_vec(&error)
            .or_err(ErrorType::InternalError, "an error that cannot be written")?
            .into();
        let mut header = json_header(rejection.status(), &body)?;
        if let Some(after) = refusal.retry_after {
            header.insert_header(RETRY_AFTER, whole_seconds(after))?;
        }
        Ok(Self { header, body })
    }
}

/// Status and header fields of an answer that is JSON.
fn json_header(status: StatusCode, body: &Bytes) -> Result<ResponseHeader> {
    // With room for the two fields that pingora adds. It writes these names the usual way, in HTTP/1 as
    // well, without being told how.
    let mut header = ResponseHeader::build_no_case(status, Some(4))?;
    header.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/json"))?;
    header.insert_header(CONTENT_LENGTH, body.len())?;
    Ok(header)
}

/// The same as the specification has it in the body, rounded up too.
fn whole_milliseconds(after: Duration) -> u64 {
    u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// `Retry-After` in whole seconds, rounded up: never "now" when it is not.
fn whole_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

/// Answers a request with JSON of our own.
pub async fn answer(session: &mut ServerSession, body: Bytes) -> Result<()> {
    let header = json_header(StatusCode::OK, &body)?;
    write(session, header, body).await
}

/// Answers a request on the client's own session. When part of the body is still to come, pingora
/// announces and makes the end of the connection, so that nothing of it is read as a request.
pub async fn refuse(session: &mut ServerSession, refusal: &Refusal) -> Result<()> {
    let Answer { header, body } = Answer::new(refusal)?;
    write(session, header, body).await
}

/// Writes an answer, all of it: none of it waits in a buffer afterwards.
async fn write(session: &mut ServerSession, header: ResponseHeader, body: Bytes) -> Result<()> {
    session.write_response_header(Box::new(header)).await?;
    session.write_response_body(body, true).await?;
    session.finish_body().await
}

/// Why a question for keys has no answer.
pub fn refuse_question(error: KeyServerError) -> Refusal {
    match error {
        KeyServerError::Query(error) => Refusal::new(Rejection::KeyQueryMalformed, error),
        KeyServerError::TooMany(wait) => {
            Refusal::new(Rejection::RateLimited, "asked for too many servers' keys")
                .retry_after(wait)
        }
        KeyServerError::Full => {
            Refusal::new(Rejection::Overloaded, "all memory for a notary's answers is in use")
                .retry_after(ANSWERS_RETRY)
        }
        KeyServerError::NoDocument => Refusal::new(
            Rejection::HomeserverUnavailable,
            "the homeserver's own keys have not been had yet",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r7_every_refusal_is_a_matrix_error() {
        for rejection in Rejection::ALL {
            let answer = Answer::new(&Refusal::new(rejection, "a detail")).unwrap();
            assert_eq!(answer.header.status, rejection.status());
            assert_eq!(answer.header.headers[CONTENT_TYPE], "application/json");
            assert_eq!(answer.header.headers[CONTENT_LENGTH], answer.body.len().to_string());
            let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            let mut text = rejection.public_text().to_owned();
            if [
                Rejection::KeyQueryMalformed,
                Rejection::MembershipRefused,
                Rejection::TransactionRefused,
            ]
            .contains(&rejection)
            {
                text.push_str(": a detail");
            }
            let public = serde_json::json!({ "errcode": rejection.errcode(), "error": text });
            assert_eq!(told, public, "{rejection:?}: no details");
        }
    }

    #[test]
    fn retry_after_is_rounded_up() {
        let refusal =
            |ms| Refusal::new(Rejection::KeyUnavailable, "").retry_after(Duration::from_millis(ms));
        let seconds = |ms| Answer::new(&refusal(ms)).unwrap().header.headers[RETRY_AFTER].clone();
        for (ms, want) in [(1, "1"), (1_000, "1"), (1_001, "2")] {
            assert_eq!(seconds(ms), want);
        }
    }
}

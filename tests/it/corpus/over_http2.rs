//! A case over HTTP/2: its frames on one connection, then a good request on the same one.

use super::case::{Case, Frame, Kind, Variant, Verdict};
use super::lane::{AFTER, Lane, authorization};
use crate::support::OWN_NAME;
use crate::support::h2_raw::{H2Raw, Outcome, block};
use crate::support::http2::{self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS};

const KIND: Kind = Kind::Http2;

/// The stream of the input, and that of the good request after it.
const STREAM: u32 = 1;
const NEXT: u32 = 101;

pub async fn run(
    lane: &mut Lane,
    case: &Case,
    variant: &Variant,
    verdict: &Verdict,
) -> Result<(), String> {
    let mut client = connect(lane).await;
    // In one piece, which the gate gets in one: a request that is whole before the frame that ends the
    // connection is else dealt with or not, as it happens.
    let frames: Vec<u8> = case.frames(variant)?.into_iter().flat_map(encoded).collect();
    client.write(&frames).await;
    let outcome = client.outcome(STREAM).await;
    match (verdict, &outcome) {
        (Verdict::Passes { .. }, Outcome::Answered(Some(200), _)) => {
            lane.check_forwarded(case, variant, KIND)?;
        }
        (Verdict::Refused { rejection, .. }, Outcome::Answered(status, body)) => {
            lane.check_refused(KIND, *rejection, *status, body).await?;
            lane.check_silence()?;
        }
        (Verdict::Bare(wanted), Outcome::Answered(Some(status), body))
            if status == wanted && body.is_empty() =>
        {
            lane.check_silence()?;
        }
        (Verdict::Reset(wanted), Outcome::Reset(code)) if code == wanted => lane.check_silence()?,
        (Verdict::Goaway(wanted), Outcome::Goaway(code)) if code == wanted => {
            lane.check_silence()?;
        }
        (Verdict::Closed, Outcome::Closed) => lane.check_silence()?,
        _ => {
            let counted = lane.newly_counted(KIND).await;
            return Err(format!("{outcome:?} instead of {verdict:?}; counted {counted:?}"));
        }
    }
    if matches!(verdict, Verdict::Goaway(_) | Verdict::Closed) {
        client = connect(lane).await;
    }
    let auth = authorization(AFTER);
    let good = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", OWN_NAME),
        (":path", AFTER),
        ("authorization", &auth),
    ]
    .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    client.headers(NEXT, &good, true).await;
    let next = client.outcome(NEXT).await;
    if matches!(&next, Outcome::Answered(_, body) if &body[..] == b"{}") {
        return lane.check_after();
    }
    Err(format!("the next request: {next:?}"))
}

async fn connect(lane: &Lane) -> H2Raw {
    let gate = lane.gate(KIND);
    H2Raw::connect(gate.address, gate.ca.as_deref().unwrap_or_default()).await
}

fn encoded(frame: Frame) -> Vec<u8> {
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let encode = |fields: &[(Vec<u8>, Vec<u8>)]| {
        let fields: Vec<_> = fields.iter().map(|(n, v)| (&n[..], &v[..])).collect();
        block(&fields)
    };
    match frame {
        Frame::Headers { stream, fields, end, whole } => {
            let flags = flag(end, END_STREAM) | flag(whole, END_HEADERS);
            http2::frame(HEADERS, flags, stream, &encode(&fields))
        }
        Frame::Continuation { fields, whole } => {
            http2::frame(CONTINUATION, flag(whole, END_HEADERS), STREAM, &encode(&fields))
        }
        Frame::Data { stream, bytes, end } => {
            http2::frame(DATA, flag(end, END_STREAM), stream, &bytes)
        }
        Frame::Raw { kind, flags, stream, payload } => http2::frame(kind, flags, stream, &payload),
    }
}

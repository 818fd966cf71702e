//! A case over HTTP/1.1: by itself, and with a good request right behind it.

use super::case::{Case, Kind, Variant, Verdict};
use super::lane::{BEHIND, Lane, good, shown};
use crate::support::Client;

const KIND: Kind = Kind::Http1;

pub async fn run(
    lane: &mut Lane,
    case: &Case,
    variant: &Variant,
    verdict: &Verdict,
) -> Result<(), String> {
    let raw = case.raw(variant)?;
    let mut client = exchange(lane, case, variant, verdict, &raw).await?;
    let (Verdict::Passes { closed } | Verdict::Refused { closed, .. }) = verdict else {
        let mut client = Client::plain(lane.gate(KIND).address).await;
        return lane.check_serves(&mut client).await;
    };
    if *closed {
        if !client.is_closed().await {
            return Err(format!("not closed, but {:?}", client.take_buffered()));
        }
        client = Client::plain(lane.gate(KIND).address).await;
    }
    lane.check_serves(&mut client).await?;
    if case.alone {
        return Ok(());
    }
    // What comes in one piece with it is never a request of its own: the gate does not pipeline.
    let raw = [raw, good(BEHIND)].concat();
    let mut client = exchange(lane, case, variant, verdict, &raw).await?;
    if client.is_closed().await {
        return lane.check_silence();
    }
    Err(format!("the request behind it: {:?}", client.take_buffered()))
}

/// Sends the input, and compares answer, count and what came to the homeserver.
async fn exchange(
    lane: &mut Lane,
    case: &Case,
    variant: &Variant,
    verdict: &Verdict,
    raw: &[u8],
) -> Result<Client, String> {
    let mut client = Client::plain(lane.gate(KIND).address).await;
    client.send(raw).await;
    let answer = client.answer().await;
    match (verdict, &answer) {
        (Verdict::Passes { .. }, Some(answer)) if answer.status == 200 => {
            lane.check_forwarded(case, variant, KIND)?;
        }
        (Verdict::Refused { rejection, .. }, Some(answer)) => {
            lane.check_refused(KIND, *rejection, Some(answer.status), &answer.body).await?;
            lane.check_silence()?;
        }
        (Verdict::Closed, None) => lane.check_silence()?,
        _ => {
            let (answer, counted) = (shown(&answer), lane.newly_counted(KIND).await);
            return Err(format!("{answer} instead of {verdict:?}; counted {counted:?}"));
        }
    }
    Ok(client)
}

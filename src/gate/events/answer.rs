//! The answer to a transaction in which nothing is good (server-server API, transactions).

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::judging::{Finding, Outcome};
use crate::proto::limits::EVENT_FIELD_BYTES_MAX;

/// Each event with what is wrong with it; 200, so that the sender goes on to its next transaction.
pub(super) fn refusing(findings: &[Finding]) -> Bytes {
    let mut pdus = Map::new();
    for finding in findings {
        // What is no ID by its length alone, nobody looks for.
        let id = finding.event_id.as_ref().filter(|id| id.len() <= EVENT_FIELD_BYTES_MAX);
        if let (Some(id), Outcome::Bad(check, _)) = (id, &finding.outcome) {
            let error = format!("event refused: {}", check.label());
            pdus.insert(id.clone(), json!({ "error": error }));
        }
    }
    Value::Object(Map::from_iter([("pdus".to_owned(), Value::Object(pdus))])).to_string().into()
}

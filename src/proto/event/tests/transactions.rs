//! What is read of a transaction (R79).

use super::*;
use crate::proto::limits::{BODY_BYTES_MAX, EDUS_MAX, PDUS_MAX};
use crate::proto::test_vectors;

fn read(body: &Value) -> Result<(Vec<String>, Vec<String>), TransactionError> {
    read_text(&body.to_string())
}

fn read_text(body: &str) -> Result<(Vec<String>, Vec<String>), TransactionError> {
    let transaction = Transaction::read(&Object::scan(body.as_bytes()).unwrap())?;
    let texts = |entries: &[&[u8]]| {
        entries.iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
    };
    Ok((texts(transaction.pdus()), texts(transaction.edus())))
}

fn array(entries: usize) -> Value {
    vec![json!({}); entries].into()
}

#[test]
fn entries_are_the_texts_they_were() {
    let body =
        r#" { "edus" : [ ] , "pdus":[ {"b":1.50, "a":"]"} ,null,[1 , 2], "\u0061,\"" , -0 ]}"#;
    let pdus = [r#"{"b":1.50, "a":"]"}"#, "null", "[1 , 2]", r#""\u0061,\"""#, "-0"];
    assert_eq!(read_text(body), Ok((pdus.map(str::to_owned).into(), vec![])));
}

#[test]
fn entries_that_are_no_objects_are_nobodys_but_their_own_fault() {
    for entry in ["null", "1", "\"{}\"", "[{}]", "true"] {
        let body = format!("{{\"edus\":[{entry}],\"pdus\":[{entry},{{}}]}}");
        let body = Object::scan(body.as_bytes()).unwrap();
        let transaction = Transaction::read(&body).unwrap();
        assert!(Event::scan(transaction.pdus()[0]).is_err());
        assert!(Event::scan(transaction.pdus()[1]).is_ok());
        let claims = edu_claims(transaction.edus()[0], &name("one.example"));
        assert_eq!(claims, EduVerdict::Malformed);
    }
}

#[test]
fn what_is_missing_is_empty() {
    for body in [json!({}), json!({ "pdus": [] }), json!({ "edus": [] }), json!({ "PDUs": 1 })] {
        assert_eq!(read(&body), Ok((vec![], vec![])));
    }
}

#[test]
fn what_is_no_array_is_refused() {
    for value in [json!(null), json!({}), json!(""), json!("[]"), json!(0), json!(false)] {
        for field in ["pdus", "edus"] {
            let error = Err(TransactionError::NotAnArray(field));
            assert_eq!(read(&json!({ field: value })), error, "{value}");
        }
    }
}

#[test]
fn r79_more_than_fifty_pdus_or_a_hundred_edus_are_refused() {
    let too_many = |field, max| Err(TransactionError::TooMany { field, max });
    let counts = |body: &Value| read(body).map(|(pdus, edus)| (pdus.len(), edus.len()));
    assert_eq!(counts(&json!({ "pdus": array(50), "edus": array(100) })), Ok((50, 100)));
    assert_eq!(counts(&json!({ "pdus": array(51) })), too_many("pdus", PDUS_MAX));
    assert_eq!(counts(&json!({ "edus": array(101) })), too_many("edus", EDUS_MAX));
    let error = TransactionError::TooMany { field: "pdus", max: PDUS_MAX };
    assert_eq!(error.to_string(), "pdus has more than 50 entries");
}

#[test]
fn r79_a_body_full_of_entries_is_not_kept() {
    let body = format!("{{\"pdus\":[0{}]}}", ",0".repeat(BODY_BYTES_MAX / 2 - 20));
    let wanted = Err(TransactionError::TooMany { field: "pdus", max: PDUS_MAX });
    assert_eq!(read_text(&body), wanted);
}

#[test]
fn the_body_may_name_another_origin() {
    let other = |origin: &str| {
        let body = format!("{{\"origin\":{origin},\"pdus\":[]}}");
        let body = Object::scan(body.as_bytes()).unwrap();
        Transaction::read(&body).unwrap().names_other_origin(&name("one.example"))
    };
    assert!(!other("\"one.example\""));
    assert!(!other("\"\\u006fne.example\""));
    for origin in ["\"two.example\"", "\"\"", "\"One.example\"", "null", "1", "[\"one.example\"]"] {
        assert!(other(origin), "{origin}");
    }
    let none = Object::scan(b"{}").unwrap();
    assert!(!Transaction::read(&none).unwrap().names_other_origin(&name("one.example")));
}

/// What a live Synapse sends is read, fits a version and speaks for its own users only.
#[test]
fn captured_transactions_are_read() {
    let mut pdus = 0;
    let captures = test_vectors::captures();
    for capture in captures.iter().filter(|capture| capture.target.contains("/v1/send/")) {
        let body = Object::scan(capture.body.as_bytes()).unwrap();
        let transaction = Transaction::read(&body).unwrap();
        let origin = ServerName::parse(&transaction.origin().unwrap()).unwrap();
        assert!(capture.authorization.contains(&format!("origin=\"{origin}\"")));
        assert!(!transaction.names_other_origin(&origin));
        for pdu in transaction.pdus() {
            assert!(Event::scan(pdu).unwrap().possible_versions().next().is_some());
            pdus += 1;
        }
        for edu in transaction.edus() {
            assert!(matches!(edu_claims(edu, &origin), EduVerdict::Good | EduVerdict::NotJudged));
        }
    }
    assert!(pdus >= 2, "{pdus}");
}

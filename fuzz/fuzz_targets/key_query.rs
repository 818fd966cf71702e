//! Questions to fedgate as a notary.

#![no_main]

use fedgate::keys::known::KEY_IDS_PER_SERVER_MAX;
use fedgate::notary::query::{of_get, of_post};
use fedgate_fuzz::json::{Value, parse_object};
use fedgate_fuzz::names;
use libfuzzer_sys::fuzz_target;

const NAMES_MAX: usize = 4;
const PREFIX: &str = "/_matrix/key/v2/query/";

fuzz_target!(|data: &[u8]| {
    if let Some(question) = data.strip_prefix(b"?").and_then(|it| std::str::from_utf8(it).ok()) {
        get(question);
        return;
    }
    let asked = of_post(data, NAMES_MAX);
    let slow = parse_object(data).and_then(|tree| question(&tree));
    assert_eq!(asked.is_ok(), slow.is_some(), "{asked:?}");
    if let (Ok(mut asked), Some(slow)) = (asked, slow) {
        asked.sort_by(|a, b| a.server.cmp(&b.server));
        let keys = asked.iter().map(|wanted| (wanted.server.to_string(), wanted.keys.len()));
        let mut slow = slow;
        slow.sort();
        assert_eq!(keys.collect::<Vec<_>>(), slow);
    }
});

fn get(question: &str) {
    let (path, query) =
        question.split_once('?').map_or((question, None), |(path, query)| (path, Some(query)));
    match of_get(&format!("{PREFIX}{path}"), query) {
        Ok(wanted) => {
            assert!(names::server_name(wanted.server.as_str()).is_some());
            assert!(wanted.keys.len() <= 1);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The servers that are asked for, and how many key IDs of each.
fn question(tree: &Value) -> Option<Vec<(String, usize)>> {
    let servers = tree.member("server_keys")?.members()?;
    let asked = servers.iter().map(|(name, keys)| {
        let name: String = name.iter().collect();
        names::server_name(&name)?;
        let keys = keys.members()?;
        for (id, criteria) in keys {
            let id: String = id.iter().collect();
            let criteria = criteria.members().filter(|_| names::is_key_id(&id))?;
            let minimum = criteria.get(&"minimum_valid_until_ts".chars().collect::<Vec<_>>());
            minimum.is_none_or(is_time).then_some(())?;
        }
        (keys.len() <= KEY_IDS_PER_SERVER_MAX).then_some((name, keys.len()))
    });
    let asked: Option<Vec<_>> = asked.collect();
    asked.filter(|asked| asked.len() <= NAMES_MAX)
}

fn is_time(value: &Value) -> bool {
    let Value::Number(text) = value else { return false };
    let is_digits = text.chars().all(|c| c.is_ascii_digit());
    is_digits && text.parse::<u64>().is_ok_and(|ms| ms < 1 << 53)
}

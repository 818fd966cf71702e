//! Rules, the files they come from, and which of them counts.

use std::path::PathBuf;

use prometheus::Registry;
use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::config::{Config, PolicyFileKind, Sources};
use crate::gate::quiet::LINES_SAVED;
use crate::gate::testing::logged;
use crate::proto::Timestamp;

fn name(text: &str) -> ServerName {
    ServerName::parse(text).unwrap()
}

/// The section `policy` of settings that say no more.
fn settings(policy: &str) -> config::Policy {
    let text = format!(
        "server_name = \"own.example\"\nhomeserver = \"http://127.0.0.1:1\"\n[policy]\n{policy}\n"
    );
    Config::load(&Sources::from_text("test.toml", text)).unwrap().policy
}

fn own() -> [ServerName; 1] {
    [name("own.example")]
}

fn table(policy: &str) -> Table {
    Lists::new(&settings(policy), &own()).table()
}

fn denied(table: &Table, server: &str) -> Option<String> {
    table.judge(&name(server)).denied.map(|cause| cause.to_string())
}

/// A folder with files of rules.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The rules of a file with this text, as globs; or what is wrong with it.
    fn read(&self, kind: PolicyFileKind, text: &str) -> Result<(Vec<String>, usize), String> {
        let path = self.write("list", text);
        let file = config::PolicyFile { path, kind, dry_run: false };
        let contents = file::read(&file).map_err(|error| {
            let folder = self.0.path().display().to_string();
            error.to_string().replace(&folder, "")
        })?;
        let globs = contents.rules.iter().map(|rule| rule.glob.to_string());
        Ok((globs.collect(), contents.skipped))
    }
}

#[test]
fn deny_counts_over_allow_and_allow_shuts_out_the_rest() {
    let table = table(
        "allow = [\"*.good.example\", \"good.example\"]\ndeny = [\"bad.good.example\", \"b?d.*\"]",
    );
    assert_eq!(denied(&table, "good.example"), None);
    assert_eq!(denied(&table, "a.good.example:8448"), None);
    let by = |glob: &str, column| Some(format!("by \"{glob}\" (test.toml:5:{column})"));
    assert_eq!(denied(&table, "bad.good.example"), by("bad.good.example", 9));
    assert_eq!(denied(&table, "bid.good.example"), by("b?d.*", 29));
    let rest = "no rule of policy.allow or policy.allow_files is for it";
    assert_eq!(denied(&table, "good.example.org").as_deref(), Some(rest));
    let allowed_by = table.judge(&name("a.good.example")).allowed_by.unwrap();
    assert_eq!(allowed_by.to_string(), "\"*.good.example\" (test.toml:4:10)");
}

#[test]
fn without_rules_everybody_may() {
    let table = table("");
    for server in ["a.example", "1.2.3.4", "[::1]:8448"] {
        assert_eq!(denied(&table, server), None, "{server}");
    }
}

#[test]
fn addresses_as_names_can_be_refused_as_in_a_server_acl() {
    let table = table("ip_literals = \"refuse\"\nallow = [\"*\"]");
    for server in ["1.2.3.4", "1.2.3.4:8448", "[2001:db8::1]", "[::1]:1"] {
        assert!(denied(&table, server).unwrap().contains("its name is an address"), "{server}");
    }
    for server in ["1.2.3.4.example", "a.example:1"] {
        assert_eq!(denied(&table, server), None, "{server}");
    }
}

#[test]
fn our_own_names_are_never_denied() {
    let table = table("allow = [\"other.example\"]\nip_literals = \"refuse\"");
    assert_eq!(denied(&table, "own.example"), None);
    assert_eq!(denied(&table, "OWN.example:8448"), None);
    assert!(denied(&table, "a.own.example").is_some());
}

#[test]
fn what_is_tried_out_is_told_only_of_those_who_may() {
    let tried = |policy: &str, server: &str| {
        let judgement = table(policy).judge(&name(server));
        (judgement.denied.is_some(), judgement.dry_run.map(|cause| cause.label()))
    };
    let deny = "deny = [\"a.example\", \"*.example dry-run\"]";
    assert_eq!(tried(deny, "a.example"), (true, None));
    assert_eq!(tried(deny, "b.example"), (false, Some("rule")));
    assert_eq!(tried(deny, "b.other"), (false, None));
    let allow = "allow = [\"a.example dry-run\"]";
    assert_eq!(tried(allow, "a.example"), (false, None));
    assert_eq!(tried(allow, "b.example"), (false, Some("not_allowed")));
    let both = "allow = [\"a.example dry-run\", \"b.example\"]";
    assert_eq!(tried(both, "a.example"), (true, None), "it is not allowed yet");
    assert_eq!(tried(both, "b.example"), (false, None));
    assert_eq!(tried("ip_literals = \"dry-run\"", "[::1]"), (false, Some("ip_literal")));
}

#[test]
fn lines_are_rules_and_mistakes_have_their_line() {
    let folder = Folder::new();
    let read = |text: &str| folder.read(PolicyFileKind::Deny, text);
    let (rules, _) =
        read("a.example # spam\r\n\n # more\n\t*.B.example dry-run\nc.example").unwrap();
    assert_eq!(rules, ["a.example", "*.b.example", "c.example"]);
    assert_eq!(read(""), Ok((Vec::new(), 0)));
    for (text, error) in [
        ("a.example\nb_c", "/list:2: no server name has the character '_'; write a server name"),
        ("\n\na.example b.example", "/list:3: there is more than one rule; write one rule alone"),
        ("a.example:1", "/list:1: names are compared without their ports; leave the port out"),
    ] {
        let found = read(text).unwrap_err();
        assert!(found.starts_with(error), "{found}");
    }
    let path = folder.write("bytes", "");
    std::fs::write(&path, b"a.example\n\xff").unwrap();
    let file = config::PolicyFile { path, kind: PolicyFileKind::Deny, dry_run: false };
    let error = file::read(&file).unwrap_err();
    assert_eq!((error.line, error.message.as_str()), (Some(2), "it is not UTF-8"));
}

#[test]
fn an_allow_list_without_rules_is_a_mistake() {
    let folder = Folder::new();
    let error = folder.read(PolicyFileKind::Allow, "# nobody\n").unwrap_err();
    assert!(error.starts_with("/list: it has no rule; list the servers"), "{error}");
}

#[test]
fn only_a_file_that_is_tried_out_is_tried_out() {
    let folder = Folder::new();
    let room = json!([event("m.policy.rule.server", "1", &ban("a.example"))]).to_string();
    for (kind, text) in [
        (PolicyFileKind::Allow, "a.example"),
        (PolicyFileKind::Deny, "a.example"),
        (PolicyFileKind::Room, &room),
    ] {
        let path = folder.write("list", text);
        for dry_run in [false, true] {
            let file = config::PolicyFile { path: path.clone(), kind, dry_run };
            let rules = file::read(&file).unwrap().rules;
            assert_eq!(rules.iter().map(|rule| rule.dry_run).collect::<Vec<_>>(), [dry_run]);
        }
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let folder = Folder::new();
    let path = folder.0.path().join("none");
    let file = config::PolicyFile { path, kind: PolicyFileKind::Deny, dry_run: false };
    let error = file::read(&file).unwrap_err().to_string();
    assert!(error.contains("none: it cannot be read: No such file"), "{error}");
}

fn event(kind: &str, key: &str, content: &Value) -> Value {
    json!({ "type": kind, "state_key": key, "content": content, "event_id": "$e", "depth": 7 })
}

fn ban(entity: &str) -> Value {
    json!({ "entity": entity, "recommendation": "m.ban", "reason": "spam" })
}

#[test]
fn a_policy_room_bans_by_its_last_state() {
    const RULE: &str = "m.policy.rule.server";
    let folder = Folder::new();
    let read = |value: &Value| folder.read(PolicyFileKind::Room, &value.to_string());
    let other = |recommendation| json!({ "entity": "o.example", "recommendation": recommendation });
    let events = json!([
        event(RULE, "1", &ban("replaced.example")),
        event(RULE, "1", &ban("*.one.example")),
        event(RULE, "2", &ban("gone.example")),
        event(RULE, "2", &json!({})),
        event("m.room.rule.server", "3", &ban("three.example")),
        event(
            "org.matrix.mjolnir.rule.server",
            "4",
            &json!({ "entity": "four.example", "recommendation": "org.matrix.mjolnir.ban" })
        ),
        event(RULE, "5", &other("m.watch")),
        event(RULE, "6", &json!({ "entity": "o.example" })),
        event("m.policy.rule.user", "7", &ban("@a:seven.example")),
        event("m.room.member", "@a:b", &json!({ "membership": "join" })),
        json!({ "type": RULE, "content": ban("no-state.example") }),
    ]);
    let want = vec!["*.one.example", "three.example", "four.example"];
    let want = want.into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(read(&events), Ok((want.clone(), 0)));
    assert_eq!(read(&json!({ "state": events, "next": "x" })), Ok((want, 0)));
    assert_eq!(read(&json!([])), Ok((Vec::new(), 0)));
}

#[test]
fn nobody_in_a_policy_room_can_break_the_list() {
    const RULE: &str = "m.policy.rule.server";
    let folder = Folder::new();
    let strange = [json!(7), json!(null), json!([[]]), json!({ "a": { "b": [1.5e300] } })];
    let mut events = vec![event(RULE, "good", &ban("good.example"))];
    for (at, value) in strange.iter().enumerate() {
        events.push(event(RULE, &format!("c{at}"), value));
        let content = json!({ "entity": value, "recommendation": "m.ban" });
        events.push(event(RULE, &format!("e{at}"), &content));
        let content = json!({ "entity": "a.example", "recommendation": value });
        events.push(event(RULE, &format!("r{at}"), &content));
        events.push(json!({ "type": value, "state_key": value }));
    }
    events.push(event(RULE, "u", &ban("b\u{fc}cher.example")));
    events.push(event(RULE, "p", &ban("a.example:8448")));
    let read = folder.read(PolicyFileKind::Room, &json!(events).to_string());
    assert_eq!(read, Ok((vec!["good.example".to_owned()], 6)));
}

#[test]
fn what_is_no_export_of_a_room_is_said_with_its_line() {
    let folder = Folder::new();
    let read = |text: &str| folder.read(PolicyFileKind::Room, text).unwrap_err();
    for (text, error) in [
        ("", "/list:1: it is not the JSON of events"),
        ("[\n{\"type\":\n", "/list:3: it is not the JSON of events"),
        ("{\"errcode\": \"M_FORBIDDEN\"}", "/list: it has no array of events"),
        ("[\n\n7]", "/list:3: one of the array's values is not an event"),
        ("[] []", "/list:1: it is not the JSON of events"),
    ] {
        let found = read(text);
        assert!(found.starts_with(error), "{found}");
        assert!(found.ends_with("answers for the policy room"), "{found}");
    }
}

#[test]
fn too_many_globs_are_refused_over_all_files() {
    let folder = Folder::new();
    let globs = |n: usize| (0..n).map(|n| format!("*x{n}.example\n")).collect::<String>();
    let (a, b) = (folder.write("a", &globs(900)), folder.write("b", &globs(101)));
    let mut lists = Lists::new(&settings(&format!("deny_files = [{a:?}, {b:?}]")), &own());
    let readings = lists.read_changed();
    assert!(readings[0].outcome.is_ok());
    let error = readings[1].outcome.as_ref().unwrap_err();
    assert_eq!(error.message, "with its 101 globs there are more than 1000");
    assert_eq!((lists.broken(), lists.counts().deny), (1, 900));
    folder.write("b", &"*.below.example\n".repeat(100_000));
    assert!(lists.read_changed()[0].outcome.is_ok());
    assert_eq!((lists.broken(), lists.counts().deny), (0, 100_900));
    assert!(lists.read_changed().is_empty(), "nothing has changed since");
    folder.write("a", &globs(901));
    assert!(lists.read_changed()[0].outcome.is_ok(), "what it said before takes no room");
}

#[test]
fn a_hundred_thousand_rules_are_told_apart() {
    let folder = Folder::new();
    let mut text: String = (0..50_000).map(|n| format!("a{n}.example\n*.b{n}.example\n")).collect();
    text.extend((0..1_000).map(|n| format!("*c{n}?.ex*\n")));
    let path = folder.write("list", &text);
    let mut lists = Lists::new(&settings(&format!("deny_files = [{path:?}]")), &own());
    assert!(lists.read_changed()[0].outcome.is_ok());
    let table = lists.table();
    for n in (0..50_000).step_by(997) {
        assert!(denied(&table, &format!("a{n}.example")).is_some());
        assert!(denied(&table, &format!("x.y.b{n}.example")).is_some());
        assert!(denied(&table, &format!("d{n}.example")).is_none());
    }
    assert!(denied(&table, "my-c999x.example.org").is_some());
}

/// The policy of these settings, and what is counted of it.
fn policy(settings: &str) -> Result<(Arc<Policy>, Registry), PolicyFileError> {
    let registry = Registry::new();
    let metrics = PolicyMetrics::register(&registry).unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_ms(1_500)));
    let policy = Policy::load(&self::settings(settings), &own(), metrics, clock)?;
    Ok((Arc::new(policy), registry))
}

fn check(policy: &Policy) -> Result<(), Refusal> {
    policy.check(&name("a.example"), Endpoint::Send)
}

/// The sum of a family's values with these labels.
fn value(registry: &Registry, labels: &[&str], name: &str) -> f64 {
    let families = registry.gather();
    let metrics = families.iter().filter(|family| family.name() == name);
    let metrics = metrics.flat_map(|family| family.get_metric());
    let is_it = |metric: &&prometheus::proto::Metric| {
        metric.get_label().iter().all(|pair| labels.contains(&pair.value()))
    };
    let values = metrics
        .filter(is_it)
        .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value());
    values.sum()
}

#[tokio::test(start_paused = true)]
async fn a_change_is_put_in_force_within_an_interval() {
    let folder = Folder::new();
    let path = folder.write("list", "");
    let settings = format!("deny_files = [{path:?}]");
    let (policy, _) = policy(&settings).unwrap();
    assert_eq!(check(&policy), Ok(()));
    folder.write("list", "a.example");
    let interval = self::settings(&settings).files_interval;
    // The clock stands still while a file is read.
    let watched = tokio::time::timeout(interval * 3 / 2, policy.watch()).await;
    assert!(watched.is_err(), "it goes on");
    let refusal = check(&policy).unwrap_err();
    assert_eq!(refusal.rejection, Rejection::PolicyDenied);
    assert_eq!(refusal.detail, format!("denied: by \"a.example\" ({}:1)", path.display()));
    assert_eq!(refusal.text.as_deref(), Some("Federation denied"));
    assert_eq!(refusal.origin, Some(name("a.example")));
}

#[test]
fn nobody_runs_without_the_rules_he_asks_for() {
    let folder = Folder::new();
    let path = folder.write("list", "a.example");
    let settings = format!("deny_files = [{path:?}]");
    assert!(check(&policy(&settings).unwrap().0).is_err());
    std::fs::remove_file(path).unwrap();
    let error = policy(&settings).map(|_| ()).unwrap_err();
    assert!(error.message.starts_with("it cannot be read"), "{error}");
}

#[tokio::test]
async fn what_a_broken_file_said_before_stays_in_force_and_it_is_counted() {
    let folder = Folder::new();
    let (path, other) = (folder.write("list", "a.example"), folder.write("other", ""));
    let settings = format!("allow = [\"*\"]\ndeny_files = [{path:?}, {other:?}]");
    let (policy, registry) = policy(&settings).unwrap();
    let counts = || {
        let denied = value(&registry, &["deny", "enforce"], "fedgate_policy_rules");
        let broken = value(&registry, &[], "fedgate_policy_files_broken");
        let errors = value(&registry, &[], "fedgate_policy_reload_errors_total");
        (denied, broken, errors)
    };
    assert_eq!(value(&registry, &[], "fedgate_policy_loaded_timestamp_seconds"), 1.5);
    assert_eq!(value(&registry, &["allow", "enforce"], "fedgate_policy_rules"), 1.0);
    for (file, text, after) in [
        ("list", "a.example b.example", (1.0, 1.0, 1.0)),
        // Which puts all rules in force again.
        ("other", "c.example", (2.0, 1.0, 1.0)),
        ("list", "a.example again", (2.0, 1.0, 2.0)),
        ("list", "a.example\nb.example", (3.0, 0.0, 2.0)),
    ] {
        folder.write(file, text);
        policy.look_again().await;
        assert!(check(&policy).is_err(), "{text}");
        assert_eq!(counts(), after, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_tried_out_is_counted_each_time_and_told_now_and_then() {
    let (policy, registry) = policy("deny = [\"a.example dry-run\"]").unwrap();
    let (lines, guard) = logged();
    for _ in 0..100 {
        assert_eq!(check(&policy), Ok(()));
    }
    drop(guard);
    assert_eq!(value(&registry, &["rule"], "fedgate_policy_dry_run_total"), 100.0);
    assert_eq!(lines.text().lines().count(), LINES_SAVED as usize);
}

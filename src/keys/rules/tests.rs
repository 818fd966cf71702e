use super::form::{ChangeForm, RulesForm};
use super::*;
use crate::keys::testing::{TestServer, at, key_id};
use crate::proto::ed25519::SigningKey;

const ID: &str = "ed25519:1";

fn server() -> ServerName {
    TestServer::new("a.example").name
}

fn key(seed: u8) -> VerifyKey {
    SigningKey::from_seed(&[seed; 32]).verify_key()
}

fn pin(seed: u8) -> Change {
    Change::Pin(server(), key_id(ID), key(seed))
}

fn book(settings: &[Change], made: &[Change]) -> Rulebook {
    let rules = |changes: &[Change]| {
        let mut rules = Rules::default();
        for change in changes {
            assert_eq!(rules.apply(change), Ok(true));
        }
        rules
    };
    Rulebook::new(rules(settings), rules(made))
}

fn change(json: serde_json::Value) -> Result<Change, String> {
    let form: ChangeForm = serde_json::from_value(json).map_err(|error| error.to_string())?;
    Change::try_from(form).map_err(|error| error.to_string())
}

#[test]
fn each_change_has_its_opposite() {
    let subjects =
        [Subject::Key([7; 32]), Subject::KeyId(server(), key_id(ID)), Subject::Server(server())];
    let bans = subjects.map(|subject| (Change::Ban(subject.clone()), Change::Unban(subject)));
    let all = [(pin(1), Change::Unpin(server(), key_id(ID)))].into_iter().chain(bans);
    for (make, lift) in all {
        let mut rules = Rules::default();
        assert_eq!(rules.apply(&lift), Ok(false), "{lift:?}");
        assert_eq!(rules.apply(&make), Ok(true), "{make:?}");
        assert_eq!(rules.len(), 1);
        assert_eq!(rules.apply(&make), Ok(false), "{make:?}");
        assert_eq!(rules.apply(&lift), Ok(true), "{lift:?}");
        assert_eq!(rules, Rules::default());
    }
}

#[test]
fn a_pin_can_be_moved_to_another_key() {
    let mut rules = Rules::default();
    assert_eq!(rules.apply(&pin(1)), Ok(true));
    assert_eq!(rules.apply(&pin(2)), Ok(true));
    assert_eq!(rules.pin(&server(), &key_id(ID)), Some(&key(2)));
    assert_eq!(rules.len(), 1);
}

#[test]
fn there_is_a_ceiling_on_rules_and_lifting_is_always_possible() {
    let mut rules = Rules::default();
    for number in 0..RULES_MADE_MAX {
        let name = ServerName::parse(&format!("s{number}.example")).unwrap();
        assert_eq!(rules.apply(&Change::Ban(Subject::Server(name))), Ok(true));
    }
    assert_eq!(rules.apply(&pin(1)), Err(RulesError::TooMany));
    let first = Subject::Server(ServerName::parse("s0.example").unwrap());
    assert_eq!(rules.apply(&Change::Unban(first)), Ok(true));
    assert_eq!(rules.apply(&pin(1)), Ok(true));
}

#[test]
fn a_ban_counts_over_a_pin_and_the_widest_is_told() {
    let ban = |subject| Change::Ban(subject);
    let of_id = ban(Subject::KeyId(server(), key_id(ID)));
    let of_server = ban(Subject::Server(server()));
    let of_key = ban(Subject::Key(*key(1).as_bytes()));
    let cases = [
        (vec![pin(1), of_key], Banned::Key),
        (vec![pin(1), of_id.clone()], Banned::KeyId),
        (vec![pin(1), of_id, of_server], Banned::Server),
    ];
    for (changes, banned) in cases {
        let rules = book(&changes, &[]).in_force();
        let answer = rules.answer(&server(), &key_id(ID), at(0));
        assert_eq!(answer, Some(KeyAnswer::Banned(banned)));
    }
}

#[test]
fn rules_speak_of_nothing_else() {
    let rules = book(&[pin(1), Change::Ban(Subject::KeyId(server(), key_id("ed25519:2")))], &[]);
    let rules = rules.in_force();
    let other = TestServer::new("b.example").name;
    assert_eq!(rules.answer(&server(), &key_id("ed25519:3"), at(0)), None);
    assert_eq!(rules.answer(&other, &key_id(ID), at(0)), None);
    assert_eq!(rules.answer(&other, &key_id("ed25519:2"), at(0)), None);
    assert_eq!(Rulebook::default().in_force().answer(&server(), &key_id(ID), at(0)), None);
}

#[test]
fn the_settings_count_over_rules_made_at_run_time() {
    let rules = book(&[pin(1)], &[pin(2)]).in_force();
    assert_eq!(rules.rules().pin(&server(), &key_id(ID)), Some(&key(1)));
    let settings = [
        pin(1),
        Change::Ban(Subject::Key([7; 32])),
        Change::Ban(Subject::KeyId(server(), key_id("ed25519:2"))),
        Change::Ban(Subject::Server(TestServer::new("b.example").name)),
    ];
    let book = book(&settings, &[]);
    let against = [
        (pin(2), "[[pins]]"),
        (Change::Unpin(server(), key_id(ID)), "[[pins]]"),
        (Change::Unban(Subject::Key([7; 32])), "keys.banned"),
        (Change::Unban(Subject::KeyId(server(), key_id("ed25519:2"))), "keys.banned_key_ids"),
        (Change::Unban(Subject::Server(TestServer::new("b.example").name)), "keys.banned_servers"),
    ];
    for (change, setting) in against {
        assert_eq!(book.drafted(&change), Err(RulesError::InSettings(setting)), "{change:?}");
    }
}

#[test]
fn a_banned_key_is_not_pinned() {
    let book = book(&[], &[Change::Ban(Subject::Key(*key(1).as_bytes()))]);
    assert_eq!(book.drafted(&pin(1)), Err(RulesError::PinOfBanned));
    assert!(book.drafted(&pin(2)).unwrap().is_some());
}

#[test]
fn a_draft_changes_nothing_until_it_is_enacted() {
    let book = Rulebook::default();
    let made = book.drafted(&pin(1)).unwrap().unwrap();
    assert_eq!(book.in_force().answer(&server(), &key_id(ID), at(0)), None);
    book.enact(made.clone());
    assert_eq!(book.made(), made);
    assert!(matches!(
        book.in_force().answer(&server(), &key_id(ID), at(0)),
        Some(KeyAnswer::Valid(found)) if found.key == key(1) && found.provenance.is_none()
    ));
    assert_eq!(book.drafted(&pin(1)), Ok(None), "it is so already");
}

#[test]
fn changes_are_read_from_json() {
    let key = key(1).to_base64();
    let read = change(serde_json::json!({
        "pin": {"server_name": "a.example", "key_id": ID, "key": key}
    }));
    assert_eq!(read, Ok(pin(1)));
    let read = change(serde_json::json!({"ban": {"server_name": "a.example"}}));
    assert_eq!(read, Ok(Change::Ban(Subject::Server(server()))));
    let read = change(serde_json::json!({"unban": {"server_name": "a.example", "key_id": ID}}));
    assert_eq!(read, Ok(Change::Unban(Subject::KeyId(server(), key_id(ID)))));
    let read = change(serde_json::json!({"unpin": {"server_name": "a.example", "key_id": ID}}));
    assert_eq!(read, Ok(Change::Unpin(server(), key_id(ID))));
    let zeros = "A".repeat(43);
    let read = change(serde_json::json!({"ban": {"key": zeros}}));
    assert_eq!(read, Ok(Change::Ban(Subject::Key([0; 32]))), "also keys nobody could use");
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let key = key(1).to_base64();
    let zeros = "A".repeat(43);
    for (json, text) in [
        (serde_json::json!({"pin": {"server_name": "a.example", "key_id": ID}}), "needs"),
        (
            serde_json::json!({"pin": {"server_name": "a b", "key_id": ID, "key": key}}),
            "server name",
        ),
        (
            serde_json::json!({"pin": {"server_name": "a", "key_id": "rsa:1", "key": key}}),
            "Ed25519",
        ),
        (
            serde_json::json!({"pin": {"server_name": "a", "key_id": ID, "key": zeros}}),
            "public key",
        ),
        (serde_json::json!({"unpin": {"server_name": "a"}}), "needs"),
        (serde_json::json!({"unpin": {"server_name": "a", "key_id": ID, "key": key}}), "needs"),
        (serde_json::json!({"ban": {}}), "a ban is of"),
        (serde_json::json!({"ban": {"key": key, "server_name": "a"}}), "a ban is of"),
        (serde_json::json!({"ban": {"key": "short"}}), "32 bytes"),
        (serde_json::json!({"ban": {"server": "a"}}), "unknown field"),
        (serde_json::json!({"forgive": {"server_name": "a"}}), "unknown variant"),
    ] {
        let error = change(json.clone()).unwrap_err();
        assert!(error.contains(text), "{json}: {error}");
    }
}

#[test]
fn rules_survive_being_written_as_json() {
    let book = book(
        &[],
        &[
            pin(1),
            Change::Ban(Subject::Key([7; 32])),
            Change::Ban(Subject::KeyId(server(), key_id(ID))),
            Change::Ban(Subject::Server(server())),
        ],
    );
    assert_eq!(Rules::try_from(RulesForm::from(&book.made())), Ok(book.made()));
}

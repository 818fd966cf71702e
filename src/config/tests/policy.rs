//! The section `policy`.

use super::{MINIMAL, load, shows};
use crate::config::{IpLiterals, PolicyFileKind};

#[test]
fn rules_and_files_are_read() {
    let config = load(
        &format!(
            "{MINIMAL}[policy]\nallow = [\"*.Friends.example\"]\ndeny = [\"a.example dry-run\"]\n\
             allow_files = [\"/a\"]\nroom_files = [\"/r\"]\ndry_run_files = [\"/r\"]\n\
             ip_literals = \"refuse\"\ntext = \"No\"\n"
        ),
        &[],
    )
    .expect("they are right");
    let policy = config.policy;
    let [allow] = &policy.allow[..] else { panic!("one") };
    assert_eq!((allow.rule.glob.as_str(), allow.rule.dry_run), ("*.friends.example", false));
    assert_eq!(allow.place, "fedgate.toml:4:10");
    assert!(policy.deny[0].rule.dry_run);
    let files: Vec<_> = policy.files.iter().map(|file| (file.kind, file.dry_run)).collect();
    assert_eq!(files, [(PolicyFileKind::Allow, false), (PolicyFileKind::Room, true)]);
    assert_eq!((policy.ip_literals, policy.text.as_str()), (IpLiterals::Refuse, "No"));
}

#[test]
fn a_rule_with_a_port() {
    shows(
        "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:8008\"\n[policy]\n\
         deny = [\"evil.example:8448\"]\n",
        &[],
        r#"
error: policy.deny has "evil.example:8448": names are compared without their ports
  --> fedgate.toml:4:9
   |
 4 | deny = ["evil.example:8448"]
   |         ^^^^^^^^^^^^^^^^^^^
   = help: leave the port out: the rule holds for all of them
"#,
    );
}

#[test]
fn a_rule_against_the_own_server() {
    shows(
        "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:8008\"\n[policy]\n\
         deny = [\"a.example\", \"*\"]\n",
        &[],
        r#"
error: policy.deny has "*", which is the own server example.org too
  --> fedgate.toml:4:8
   |
 4 | deny = ["a.example", "*"]
   |        ^^^^^^^^^^^^^^^^^^
   = help: deny less; to federate with some servers only, list them in policy.allow
"#,
    );
}

#[test]
fn other_mistakes() {
    for (settings, error) in [
        ("deny = [\"a.example b.example\"]", "there is more than one rule"),
        ("deny = [\"\"]", "there is no name"),
        ("deny_files = [\"deny.txt\"]", "the path is not absolute"),
        ("deny_files = [\"/a\"]\nroom_files = [\"/a\"]", "\"/a\" is listed twice"),
        ("dry_run_files = [\"/a\"]", "\"/a\" is in none of the lists of files"),
        ("text = \"\"", "too short or too long"),
        ("text = \"a\\u0007\"", "control characters"),
        ("ip_literals = \"deny\"", "there is no such choice"),
    ] {
        let text = format!("{MINIMAL}[policy]\n{settings}\n");
        let errors = load(&text, &[]).expect_err("it is a mistake");
        assert_eq!(errors.count(), 1, "{settings}: {errors}");
        assert!(errors.to_string().contains(error), "{settings}: {errors}");
    }
    let many: Vec<String> = (0..65).map(|n| format!("\"/{n}\"")).collect();
    let text = format!("{MINIMAL}[policy]\ndeny_files = [{}]\n", many.join(","));
    let errors = load(&text, &[]).expect_err("they are too many").to_string();
    assert!(errors.contains("65 files are too many"), "{errors}");
}

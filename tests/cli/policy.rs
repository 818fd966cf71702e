//! `fedgate policy check`, and what `fedgate check` says of the lists.

use super::{Files, json, stderr, stdout};

fn settings(files: &Files, policy: &str) -> String {
    let text = format!(
        "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:1\"\n[policy]\n{policy}\n"
    );
    files.write("fedgate.toml", &text)
}

#[test]
fn the_rule_that_decides_is_named_with_its_place() {
    let files = Files::new();
    let list =
        files.write("deny.txt", "# spam\n\nSpam.example\n*.spam.example dry-run # why not\n");
    let room = files.write(
        "room.json",
        "{\"state\": [\n  {\"type\": \"m.policy.rule.server\", \"state_key\": \"1\", \"content\":\n  \
         {\"entity\": \"*bad*\", \"recommendation\": \"m.ban\"}}\n]}",
    );
    let policy = format!(
        "deny = [\"evil.example\"]\ndeny_files = [{list:?}]\nroom_files = [{room:?}]\n\
         ip_literals = \"refuse\""
    );
    let config = settings(&files, &policy);
    let check = |names: &[&str], code| {
        stdout(&[&["policy", "check", "--config", &*config], names].concat(), code)
    };
    assert_eq!(
        check(&["EVIL.example:8448", "spam.example", "very.bad.example", "[::1]:1"], 1),
        format!(
            "EVIL.example:8448: denied by \"evil.example\" ({config}:4:9)\n\
             spam.example: denied by \"spam.example\" ({list}:3)\n\
             very.bad.example: denied by \"*bad*\" ({room}:2:3)\n\
             [::1]:1: denied: its name is an address (policy.ip_literals)\n"
        )
    );
    assert_eq!(
        check(&["good.example", "a.spam.example", "example.org"], 0),
        format!(
            "good.example: allowed\n\
             a.spam.example: allowed; dry-run would deny it: by \"*.spam.example\" ({list}:4)\n\
             example.org: allowed\n"
        )
    );
    let answers = json(&["policy", "check", "--json", "--config", &config, "spam.example"], 1);
    assert_eq!(answers[0]["verdict"], "denied");
    assert_eq!(answers[0]["because"], format!("by \"spam.example\" ({list}:3)"));
}

#[test]
fn an_allow_list_names_who_may() {
    let files = Files::new();
    let list = files.write("allow.txt", "*.friends.example\n");
    let config = settings(&files, &format!("allow_files = [{list:?}]"));
    let said =
        stdout(&["policy", "check", "--config", &config, "a.friends.example", "b.example"], 1);
    assert_eq!(
        said,
        format!(
            "a.friends.example: allowed by \"*.friends.example\" ({list}:1)\n\
             b.example: denied: no rule of policy.allow or policy.allow_files is for it\n"
        )
    );
}

#[test]
fn mistakes_are_exit_code_2_with_place_and_fix() {
    let files = Files::new();
    let list = files.write("deny.txt", "good.example\nhttps://evil.example\n");
    let config = settings(&files, &format!("deny_files = [{list:?}]"));
    let said = stderr(&["policy", "check", "--config", &config, "a.example"], 2);
    assert_eq!(
        said,
        format!(
            "error: {list}:2: no server name has the character '/'; write a server name, as in \
             \"example.org\", or a glob, as in \"*.example.org\"\n"
        )
    );
    let said = stderr(&["policy", "check", "--config", &config, "a b"], 2);
    assert!(said.contains("\"a b\" is no server name"), "{said}");
    let said = stderr(&["run", "--config", &config], 1);
    assert!(said.contains(&format!("{list}:2: no server name has")), "{said}");
}

#[test]
fn check_says_how_long_the_lists_are_and_what_is_wrong_with_them() {
    let files = Files::new();
    let deny = files.write("deny.txt", "a.example\nb.example dry-run\n*.org\n");
    let allow = files.write("allow.txt", "# nobody\n");
    let config = settings(
        &files,
        &format!("deny = [\"x.example\"]\ndeny_files = [{deny:?}]\nallow_files = [{allow:?}]"),
    );
    let report = json(&["check", "--json", "--config", &config], 1);
    let checks = report["checks"].as_array().expect("checks");
    let found: Vec<_> = checks.iter().filter(|check| check["name"] == "policy").collect();
    let [settings, allowed, denied] = &found[..] else { panic!("{found:?}") };
    assert_eq!(settings["detail"], "the settings: rules: 1 denied");
    assert_eq!(allowed["result"], "fail");
    assert_eq!(allowed["detail"], format!("{allow}: it has no rule"));
    assert_eq!(denied["result"], "warn", "it is about the own server too");
    let detail = denied["detail"].as_str().expect("text");
    assert!(
        detail.starts_with(&format!("{deny}: rules: 2 denied, 1 denied (dry-run); ")),
        "{detail}"
    );
    assert!(detail.contains(&format!("\"*.org\" ({deny}:3)")), "{detail}");
}

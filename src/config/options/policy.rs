//! The settings of the section `policy`.

use super::Default::Value;
use super::table::option;
use super::{Kind, Section};

pub(super) const POLICY: Section = Section {
    name: "policy",
    repeated: false,
    doc: "Which servers may federate at all. Rules are server names or globs: * is any number of\n\
          characters, ? exactly one; case and ports do not count. With \"dry-run\" behind it, as in\n\
          \"*.example.net dry-run\", a rule only counts and logs what it would refuse. The own names\n\
          are never refused. Files are read again when they change; one that is broken then keeps\n\
          what it said before.",
    options: &[
        option(
            "allow",
            Kind::List,
            Value("[]"),
            "Servers that may federate. If any is listed here or in allow_files, all others may not.",
        ),
        option(
            "deny",
            Kind::List,
            Value("[]"),
            "Servers that may not, whatever `allow` says: their requests are answered 403.",
        ),
        option(
            "allow_files",
            Kind::List,
            Value("[]"),
            "Files with more of `allow`: a rule a line, # begins a comment. Each must have a rule.",
        ),
        option(
            "deny_files",
            Kind::List,
            Value("[]"),
            "Files with more of `deny`, in the same form.",
        ),
        option(
            "room_files",
            Kind::List,
            Value("[]"),
            "Files with the state of moderation policy rooms, as GET /rooms/{id}/state of the client\n\
             API gives it: servers with the recommendation m.ban (m.policy.rule.server) may not\n\
             federate.",
        ),
        option(
            "dry_run_files",
            Kind::List,
            Value("[]"),
            "Those of the files above all of whose rules only count and log what they would refuse.",
        ),
        option(
            "files_interval",
            Kind::Text,
            Value(r#""5s""#),
            "How often the files are looked at for changes.",
        ),
        option(
            "ip_literals",
            Kind::Text,
            Value(r#""allow""#),
            "Servers whose name is an IP address: \"allow\", \"refuse\" (allow_ip_literals = false in a\n\
             room's server ACL), or \"dry-run\".",
        ),
        option(
            "text",
            Kind::Text,
            Value(r#""Federation denied""#),
            "What a refused server is told, up to 256 characters.",
        ),
    ],
};

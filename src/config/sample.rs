//! The sample settings file, written from the table of options.

use super::options::{Default, SECTIONS};

const HEAD: &str = "\
# fedgate's settings, each with its default. The first two must be written; everything else is
# commented out and may stay so. `fedgate check` says whether a file is right.
#
# Every setting can also come from the environment: FEDGATE_SERVER_NAME, FEDGATE_LISTEN__ADDRESS,
# FEDGATE_KEYS__SOURCES=origin,notaries. The command line counts over the environment, the
# environment over this file.
#
# Written by `fedgate config sample`: do not edit it in the repository.
";

/// The text of `config/fedgate.toml`.
pub fn sample() -> String {
    let mut out = String::from(HEAD);
    for section in SECTIONS {
        if !section.name.is_empty() {
            out.push_str("\n\n");
            comment(&mut out, section.doc);
            let line = if section.repeated {
                format!("#[[{}]]\n", section.name)
            } else {
                format!("[{}]\n", section.name)
            };
            out.push_str(&line);
        }
        for option in section.options {
            out.push('\n');
            comment(&mut out, option.doc);
            let active = matches!(option.default, Default::Required(_)) && !section.repeated;
            let mark = if active { "" } else { "#" };
            out.push_str(&format!("{mark}{} = {}\n", option.name, option.default.shown()));
        }
    }
    out
}

fn comment(out: &mut String, text: &str) {
    for line in text.lines() {
        out.push_str("# ");
        out.push_str(line);
        out.push('\n');
    }
}

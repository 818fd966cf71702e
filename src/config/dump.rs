//! The settings as they count, as a settings file. Credentials are left out.

use super::Config;
use super::options::SECTIONS;
use super::settings::Settings;

/// Every setting that has a value, in TOML, with the place the value comes from.
pub(crate) fn dump(config: &Config, settings: &Settings) -> String {
    let mut out = String::new();
    for section in SECTIONS.iter().filter(|section| !section.repeated) {
        if !section.name.is_empty() {
            out.push_str(&format!("\n[{}]\n", section.name));
        }
        for option in section.options {
            let name = section.full_name(option);
            if let Some(value) = settings.get(&name) {
                let line = format!("{} = {}  # {}\n", option.name, value.raw, value.place);
                out.push_str(&line);
            } else if name == "listen.address" {
                // The one default that depends on other settings.
                let line = format!("address = \"{}\"  # the default\n", config.listen.address);
                out.push_str(&line);
            }
        }
    }
    for section in settings.repeated() {
        out.push_str(&format!("\n[[{}]]  # {}\n", section.section, section.place));
        for (name, value) in &section.values {
            out.push_str(&format!("{name} = {}\n", value.raw));
        }
    }
    out
}

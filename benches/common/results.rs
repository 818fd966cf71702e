//! Sections of `benches/RESULTS.md` that benchmarks write.

use std::path::Path;
use std::process::Command;

/// The file, from the root of the repository.
const RESULTS: &str = "benches/RESULTS.md";

/// When, from what and on what something was measured.
pub fn origin() -> String {
    let commit = output("git", &["describe", "--always", "--dirty"]);
    let day = output("date", &["-u", "+%F"]);
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // Not those that this process may use: it may be held to some of them.
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    format!("{day}, commit {commit}, {}, {cores} cores", model.unwrap_or("unknown processor"))
}

/// Puts a section in the place of the one of that name, or at the end.
pub fn write(name: &str, section: &str) {
    let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->\n"));
    // The package that measures may lie below the root.
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let path = folders.map(|f| f.join(RESULTS)).find(|path| path.exists()).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let text = match (text.find(&begin), text.find(&end)) {
        (Some(from), Some(to)) => format!("{}{begin}{section}{}", &text[..from], &text[to..]),
        _ => format!("{text}\n{begin}{section}{end}"),
    };
    std::fs::write(path, text).unwrap();
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

//! Where settings come from: one file, the environment, the command line.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Place};
use super::{DEFAULT_PATH, ENV_PREFIX};

/// The variable that names the settings file.
const FILE_VARIABLE: &str = "FEDGATE_CONFIG";

/// Largest settings file that is read, in bytes; an operator's is a few KiB.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where settings come from. A flag on the command line counts over the environment, that over the
/// file, that over the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    pub(super) env: Vec<(String, String)>,
    pub(super) flags: Vec<Flag>,
    pub(super) unreadable: Vec<Diagnostic>,
    text: Option<Document>,
}

/// A setting given on the command line.
#[derive(Clone, Debug)]
pub(super) struct Flag {
    pub(super) setting: &'static str,
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// The text of a settings file and the name it goes by.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) path: Arc<str>,
    pub(super) text: String,
}

impl Sources {
    /// Settings from a text that goes by `name` in errors, and no file.
    pub fn from_text(name: &str, text: String) -> Self {
        Self { text: Some(Document { path: name.into(), text }), ..Self::default() }
    }

    /// The file `path` must exist. Without it, `/etc/fedgate/fedgate.toml` is read if it exists.
    #[must_use]
    pub fn with_file(mut self, path: Option<PathBuf>) -> Self {
        if path.is_some() {
            self.file = path;
        }
        self
    }

    /// Takes the `FEDGATE_` variables out of an environment. `FEDGATE_CONFIG` names the file.
    #[must_use]
    pub fn with_env(mut self, env: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        for (name, value) in env {
            let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX)) else {
                continue;
            };
            if name == FILE_VARIABLE {
                if self.file.is_none() && !value.is_empty() {
                    self.file = Some(PathBuf::from(value));
                }
                continue;
            }
            match value.into_string() {
                Ok(value) if is_service_link(name, &value) => {}
                Ok(value) => self.env.push((name.to_owned(), value)),
                Err(value) => self.unreadable.push(Diagnostic {
                    message: format!("the value of {name} is not UTF-8"),
                    place: Place::Env { name: name.to_owned(), value: value.display().to_string() },
                    help: format!("set {name} again, or unset it"),
                }),
            }
        }
        // The order of an environment is no one's choice; errors should not depend on it.
        self.env.sort();
        self
    }

    /// Sets one setting, as the flag `name` does.
    #[must_use]
    pub(crate) fn with_flag(
        mut self,
        name: &'static str,
        setting: &'static str,
        value: Option<String>,
    ) -> Self {
        self.flags.extend(value.map(|value| Flag { setting, name, value }));
        self
    }

    /// The file that is read, whether or not it exists.
    pub fn path(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(DEFAULT_PATH))
    }

    /// Reads the file, if there is one.
    pub(super) fn read(&self) -> Result<Option<Document>, Vec<Diagnostic>> {
        if let Some(text) = &self.text {
            return Ok(Some(text.clone()));
        }
        let path = self.path();
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(error) if self.file.is_none() && error.kind() == ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(vec![unreadable_file(path, &error)]),
        };
        let path: Arc<str> = path.display().to_string().into();
        Ok(Some(Document { path, text }))
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= FILE_BYTES_MAX) {
        Ok(text)
    } else {
        Err(std::io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes")))
    }
}

fn unreadable_file(path: &Path, error: &std::io::Error) -> Diagnostic {
    let shown = path.display();
    let kind = error.kind();
    let help = if kind == ErrorKind::NotFound {
        format!("name another with --config, or write one: fedgate config sample > {shown}")
    } else if kind == ErrorKind::PermissionDenied {
        "let the user fedgate runs as read the file and enter its directory".to_owned()
    } else {
        "it must be a text file in UTF-8".to_owned()
    };
    Diagnostic {
        message: format!("the settings file cannot be read: {error}"),
        place: Place::Settings { path: Some(shown.to_string().into()) },
        help,
    }
}

/// Whether Kubernetes set the variable because a service in the namespace is called fedgate: such
/// variables (`FEDGATE_SERVICE_HOST`, `FEDGATE_PORT=tcp://..`, `FEDGATE_PORT_8448_TCP_ADDR`) are
/// nobody's settings.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let by_port = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        rest.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
            && ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.contains(protocol))
    });
    !name.contains("__")
        && (name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || by_port
            || (name.ends_with("_PORT") && is_url))
}

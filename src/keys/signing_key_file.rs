//! Files with our own signing keys: reading them, and making new ones.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::proto::signing_keys::{SigningKeys, SigningKeysError};

/// Largest file that is read, in bytes: `SIGNING_KEYS_MAX` lines with the longest key IDs are half
/// of it.
const FILE_BYTES_MAX: usize = 4_096;

/// Who may read and write a file that is made: its owner.
const NEW_FILE_MODE: u32 = 0o600;

/// The bits of a file's mode with which others than its owner may read or write it.
const OTHERS_MAY: u32 = 0o066;

/// What a file holds.
#[derive(Debug)]
pub struct SigningKeyFile {
    /// The keys.
    pub keys: SigningKeys,
    /// What the operator should know of, for the log: others may read the file. No reason to refuse
    /// it, since Synapse's own file is often readable by a group.
    pub warning: Option<String>,
}

/// Why there are no keys, in words for the operator. Nothing of what the file holds is repeated.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyFileError {
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The file is longer than any with signing keys.
    #[error("{} is not a signing key file: it has more than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// The file holds something else.
    #[error("{} is not a signing key file: {error}\nhelp: {}", path.display(), error.fix())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where the mistake is.
        #[source]
        error: SigningKeysError,
    },
}

/// Why no file was made, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum NewKeyError {
    /// There is a file already; it is left as it is.
    #[error("{} exists already, and a key that others may rely on is not overwritten", .0.display())]
    Exists(PathBuf),
    /// The file cannot be written. What was begun has been removed.
    #[error("{} cannot be written: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    NoRandomness(#[from] getrandom::Error),
}

/// Reads a file with signing keys, as Synapse writes it.
///
/// # Errors
/// When it cannot be read or holds anything else.
pub fn read(path: &Path) -> Result<SigningKeyFile, SigningKeyFileError> {
    let (text, metadata) = read_text(path)
        .map_err(|error| SigningKeyFileError::Unreadable { path: path.to_owned(), error })?;
    if text.len() > FILE_BYTES_MAX {
        return Err(SigningKeyFileError::TooLarge(path.to_owned()));
    }
    let keys = SigningKeys::parse(&text)
        .map_err(|error| SigningKeyFileError::Malformed { path: path.to_owned(), error })?;
    Ok(SigningKeyFile { keys, warning: warning(path, &metadata) })
}

/// The first bytes of a file, one more than it may have.
fn read_text(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // With room for all, so that the text is not left behind where a vector that grows was.
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok((text, metadata))
}

fn warning(path: &Path, metadata: &Metadata) -> Option<String> {
    let mode = metadata.permissions().mode() & 0o777;
    (metadata.is_file() && mode & OTHERS_MAY != 0).then(|| {
        format!(
            "{} holds private keys, and others than its owner may read or write it (mode \
             {mode:04o}); unless that is meant: chmod 600",
            path.display()
        )
    })
}

/// Makes a file with one new key from the operating system's random source, and returns what is in
/// it. The file is on disk when this returns, and only its owner may read it.
///
/// # Errors
/// When there is such a file or it cannot be written.
pub fn create(path: &Path) -> Result<SigningKeys, NewKeyError> {
    let unwritable = |error| NewKeyError::Unwritable { path: path.to_owned(), error };
    let text = SigningKeys::generate(getrandom::fill)?;
    let keys =
        SigningKeys::parse(text.as_bytes()).map_err(|error| unwritable(io::Error::other(error)))?;
    let mut new = OpenOptions::new();
    let file = new.write(true).create_new(true).mode(NEW_FILE_MODE).open(path);
    let file = file.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            NewKeyError::Exists(path.to_owned())
        } else {
            unwritable(error)
        }
    })?;
    let written = write(file, path, text.as_bytes());
    if written.is_err() {
        // Half a key is in the way of the next attempt. If it cannot be removed either, that one
        // says so.
        let _removed = std::fs::remove_file(path);
    }
    written.map_err(unwritable)?;
    Ok(keys)
}

/// Writes the file, and waits until it and its name are on disk.
fn write(mut file: File, path: &Path, text: &[u8]) -> io::Result<()> {
    file.write_all(text)?;
    file.sync_all()?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;
    use crate::proto::signing_keys::LineFlaw;

    const LINE: &str = "ed25519 a_AbCd YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n";

    /// A folder with a file of this text and mode.
    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_is_read_and_others_who_may_read_it_are_told() {
        for (mode, warns) in [
            (0o600, false),
            (0o400, false),
            (0o700, false),
            (0o640, true),
            (0o604, true),
            (0o620, true),
            (0o644, true),
        ] {
            let (_folder, path) = file(LINE, mode);
            let read = read(&path).unwrap();
            assert_eq!(read.keys.first().0.as_str(), "ed25519:a_AbCd");
            assert_eq!(read.warning.is_some(), warns, "{mode:o}: {:?}", read.warning);
            let told = read.warning.unwrap_or_default();
            assert!(!warns || told.contains(&format!("mode {mode:04o}")), "{told}");
        }
    }

    #[test]
    fn mistakes_name_the_file_the_line_and_the_fix() {
        let (_folder, path) = file("ed25519 a b\n", 0o600);
        let refused = read(&path).unwrap_err();
        let told = refused.to_string();
        assert!(matches!(
            refused,
            SigningKeyFileError::Malformed { error: SigningKeysError::Line(1, LineFlaw::Seed), .. }
        ));
        for part in ["signing.key is not a signing key file: line 1 has a seed", "\nhelp: restore"]
        {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn the_size_of_a_file_is_bounded() {
        let padded = |bytes: usize| format!("{LINE}{}", "\n".repeat(bytes - LINE.len()));
        let (_folder, path) = file(&padded(FILE_BYTES_MAX), 0o600);
        assert!(read(&path).is_ok());
        let (_folder, path) = file(&padded(FILE_BYTES_MAX + 1), 0o600);
        assert!(matches!(read(&path), Err(SigningKeyFileError::TooLarge(_))));
        let gone = read(&path.join("nothing"));
        assert!(matches!(gone, Err(SigningKeyFileError::Unreadable { .. })));
    }

    #[test]
    fn a_new_file_is_its_owners_alone_and_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notary.key");
        let made = create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = read(&path).unwrap();
        assert_eq!(read.warning, None);
        let keys = |keys: &SigningKeys| -> Vec<_> {
            keys.verify_keys().map(|(id, key)| (id.clone(), key.to_base64())).collect()
        };
        assert_eq!(keys(&read.keys), keys(&made));

        let other = create(&folder.path().join("other.key")).unwrap();
        assert_ne!(keys(&other), keys(&made));
    }

    #[test]
    fn a_file_that_is_there_is_not_touched() {
        let (folder, path) = file(LINE, 0o600);
        assert!(matches!(create(&path), Err(NewKeyError::Exists(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), LINE);
        // Nor is what a link points to, there or not.
        for target in ["signing.key", "nothing"] {
            let link = folder.path().join(format!("{target}.link"));
            std::os::unix::fs::symlink(folder.path().join(target), &link).unwrap();
            assert!(matches!(create(&link), Err(NewKeyError::Exists(_))));
        }
        assert!(!folder.path().join("nothing").exists());
        let nowhere = create(&folder.path().join("no/such/folder"));
        assert!(matches!(nowhere, Err(NewKeyError::Unwritable { .. })));
    }
}

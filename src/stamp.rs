//! Whether a file has changed since it was read: for the files that are looked at again and again.

use std::path::Path;
use std::time::SystemTime;

/// A file's state. The length tells a half-written file from a whole one where the clock of the file
/// system is too coarse to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: SystemTime,
    length: u64,
}

impl Stamp {
    /// The file's state now; none where there is no file, or none that can be looked at.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { modified: metadata.modified().ok()?, length: metadata.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_or_goes_shows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(Stamp::of(&path), None);
        std::fs::write(&path, "one").unwrap();
        let first = Stamp::of(&path);
        assert!(first.is_some());
        assert_eq!(Stamp::of(&path), first, "nothing has happened");

        // The same time, another length; then another time, the same length.
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let write = |text: &str, time| {
            std::fs::write(&path, text).unwrap();
            std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
        };
        write("three", time);
        assert_ne!(Stamp::of(&path), first);
        write("two", time + std::time::Duration::from_secs(1));
        assert_ne!(Stamp::of(&path), first);
        write("six", time);
        assert_eq!(Stamp::of(&path), first, "the content is not looked at");

        std::fs::remove_file(&path).unwrap();
        assert_eq!(Stamp::of(&path), None);
    }
}

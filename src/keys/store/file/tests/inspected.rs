//! What is told of a file without opening it.

use super::*;

/// The files beside it and its own bytes, which must stay as they are.
fn snapshot(path: &Path) -> (Vec<String>, Option<Vec<u8>>, Option<std::time::SystemTime>) {
    let modified = path.metadata().and_then(|file| file.modified()).ok();
    (beside(path), std::fs::read(path).ok(), modified)
}

#[track_caller]
fn inspected(path: &Path) -> Result<Inspection, StoreError> {
    let before = snapshot(path);
    let found = inspect(path);
    assert!(snapshot(path) == before, "something has changed: {found:?}");
    found
}

#[tokio::test]
async fn a_store_is_counted_and_left_as_it_is() {
    let (_directory, path) = place();
    assert_eq!(inspected(&path), Ok(Inspection::Missing));
    std::fs::write(&path, "").unwrap();
    assert_eq!(inspected(&path), Ok(Inspection::Missing));
    let bytes = closed_file(&path, 3).await.len() as u64;
    assert_eq!(inspected(&path), Ok(Inspection::Sound(StoreSize { servers: 3, bytes })));
}

#[tokio::test]
async fn a_running_one_is_told_apart_from_one_that_was_killed() {
    let (directory, path) = place();
    closed_file(&path, 3).await;
    let store = open(&path);
    save(&store, 4, 1).await.unwrap();
    let bytes = path.metadata().unwrap().size();
    assert_eq!(inspected(&path), Ok(Inspection::Held(bytes)));
    save(&store, 5, 1).await.unwrap();
    // As it would be found after the power failed.
    let killed = directory.path().join("killed.redb");
    std::fs::copy(&path, &killed).unwrap();
    let bytes = killed.metadata().unwrap().size();
    assert_eq!(inspected(&killed), Ok(Inspection::Unclosed(bytes)));
    assert_eq!(open(&killed).count().await, Ok(5));
}

#[tokio::test]
async fn what_would_be_moved_aside_is_only_said_to_be() {
    let (_directory, path) = place();
    std::fs::write(&path, "my shopping list").unwrap();
    assert!(matches!(inspected(&path), Ok(Inspection::Damaged(_))));
    let mut bytes = closed_file(&path.with_file_name("other.redb"), 9).await;
    bytes.truncate(5_000);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(inspected(&path), Ok(Inspection::Unclosed(5_000)), "nobody has tried to repair it");
}

#[tokio::test]
async fn what_would_fail_fails_with_the_same_words() {
    let (directory, path) = place();
    closed_file(&path, 1).await;
    make_newer(&path);
    assert_eq!(inspected(&path), Err(FileStore::open(&path, at(0)).unwrap_err()));
    let missing = directory.path().join("missing/keys.redb");
    assert_eq!(inspect(&missing), Err(FileStore::open(&missing, at(0)).unwrap_err()));
    let Err(StoreError::Io(text)) = inspect(directory.path()) else { panic!("a directory") };
    assert!(text.contains("set keys.store to a file"), "{text}");
}

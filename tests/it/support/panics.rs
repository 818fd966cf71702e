//! A panic in fedgate ends a request or a task and nothing else, so a test may well not notice it. This
//! does.

use std::panic::{set_hook, take_hook};
use std::sync::{Mutex, Once, PoisonError};

/// Where fedgate, or a crate it uses, has panicked.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on panics are counted as in the program, and written down unless they are a test's own.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = take_hook();
        fedgate::app::panics::install();
        let product = take_hook();
        set_hook(Box::new(move |panic| {
            product(panic);
            let is_of_tests = panic.location().is_some_and(|at| at.file().starts_with("tests/"));
            if !is_of_tests {
                SEEN.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
            }
            usual(panic);
        }));
    });
}

/// Fails when there has been one in this process.
pub fn assert_none() {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(seen, Vec::<String>::new(), "fedgate has panicked");
}

//! Panics: bugs. Each ends the request or the task it happens in and nothing else, is counted, and is
//! told of where the log goes.

use std::panic::PanicHookInfo;
use std::sync::LazyLock;

use tracing::error;

use super::metrics::PANICS;
use crate::gate::admission::shown;

/// From now on panics of this process are counted and logged.
pub fn install() {
    LazyLock::force(&PANICS);
    std::panic::set_hook(Box::new(report));
}

/// How many there have been.
pub fn count() -> u64 {
    PANICS.as_ref().map_or(0, |panics| panics.get())
}

fn report(panic: &PanicHookInfo<'_>) {
    if let Some(panics) = PANICS.as_ref() {
        panics.inc();
    }
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    // It may hold what a peer wrote.
    let cause = shown(text.unwrap_or("a panic without a text").as_bytes());
    let location = panic.location().map(ToString::to_string);
    let current = std::thread::current();
    error!(
        target: "fedgate::panics",
        cause,
        location,
        thread = current.name(),
        "panic: this is a bug in fedgate, please report it; the request or task it was in has ended"
    );
}

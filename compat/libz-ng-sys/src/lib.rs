//! pingora always asks flate2 for its `zlib-ng` back end, whose own build needs cmake. fedgate never
//! compresses, so this crate stands in under that name and re-exports the stock zlib, which has the
//! same interface and builds with a C compiler alone.
#![forbid(unsafe_code)]

pub use libz_sys::*;

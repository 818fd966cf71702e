//! What may pass.

pub mod admission;
pub mod permit;
pub mod rejection;
pub mod route;

pub use permit::Permit;
pub use rejection::Rejection;

//! To be built.
pub struct Permit; 

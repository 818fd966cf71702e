//! To be built.
pub struct Rejection; 

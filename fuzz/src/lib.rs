//! What the fuzz targets hold fedgate against: the same decisions once more, slowly and plainly, from
//! the specification, sharing no code with the library. Where the two differ one of them is wrong.

pub mod documents;
pub mod events;
pub mod input;
pub mod json;
pub mod json_spelling;
pub mod names;
pub mod number;
pub mod paths;
pub mod pipeline;
pub mod redaction;
pub mod signing;
pub mod x_matrix;

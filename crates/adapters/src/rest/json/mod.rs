//! Strict JSON: what a body must be before anybody looks for fields in it.
//!
//! [`check`] goes over the whole text once. It refuses what the grammar refuses,
//! and what the engine cannot keep: NUL characters, halves of surrogate pairs,
//! numbers beyond a double, doubled keys, and nesting beyond 64 levels.
//! [`Value`] then looks at parts of a checked text without building a tree, so
//! that memory stays near the size of the body whatever its shape, and a
//! document can be kept exactly as it was sent.

mod check;
mod field;
mod value;

pub(crate) use check::check;
pub(crate) use field::{Object, decode};
pub(crate) use value::{Shape, Value};

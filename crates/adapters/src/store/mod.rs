//! The ports over PostgreSQL and SQLite.
//!
//! Both dialects keep the same tables with the same columns. What they share
//! stands here: the entities of the admin tables, the plain rows of the job
//! tables with their conversions into the domain, the statements of the proof, and the
//! mapping of errors.

pub mod entity;
pub(crate) mod error;
pub(crate) mod names;
pub(crate) mod proof;
pub(crate) mod row;
mod sealed;

pub mod postgres;
pub mod sqlite;

pub use sealed::Sealed;

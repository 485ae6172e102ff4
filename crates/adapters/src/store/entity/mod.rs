//! The tables that administrators write and few rows live in, as SeaORM entities.
//!
//! The job tables have none: their statements move sets of rows at once and are
//! written by hand in each dialect.

use taskflow_application::ports::StoreError;

pub mod queue;
pub mod tenant;
pub mod worker;

/// A stored value that the engine cannot have written.
fn corrupt(
    table: &'static str,
    column: &'static str,
    id: impl std::fmt::Display,
    detail: impl std::fmt::Display,
) -> StoreError {
    StoreError::Corrupt { table, column, id: format!("{id}"), detail: format!("{detail}") }
}

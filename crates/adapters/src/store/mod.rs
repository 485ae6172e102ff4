//! The ports over PostgreSQL and SQLite.

pub mod postgres;
pub mod sqlite;

//! The job tables' rows as plain values, and their conversions into the domain.
//!
//! A row is read by position, beginning at a given column, so that a statement
//! can join several of them; [`columns`](JobRow::columns) writes the matching
//! part of the select list. The same code reads from either database.

mod attempt;
mod audit;
mod due;
mod job;
mod key;
mod place;
mod rule;
mod stats;

pub(crate) use attempt::{AttemptRow, EventRow};
pub(crate) use audit::{AuditRow, audit_head};
pub(crate) use due::{MOST_JOBS, MOST_LANES, NOBODY, OWN_ROUTE, counted, held_back};
pub(crate) use job::{JobRow, labels_to_text};
pub(crate) use key::KeyRow;
pub(crate) use place::{CountersRow, LeaseRow, PlaceRow, ProgressRow};
pub(crate) use rule::{
    FanOutRow, FiringRow, InboundRow, PendingRow, RuleLineRow, RuleRow, document_text, ids_from_text,
    watched, webhook_key,
};
pub(crate) use stats::{
    COUNTS, RunnerRow, loops_to_text, read_counts, runner, spread_documents, stat_documents,
};

use taskflow_application::ports::StoreError;

/// Declares a row: its struct, its select list, and how it is read.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $type,)*
        }

        impl $name {
            /// The columns, in the order in which they are read.
            pub(crate) const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),*];

            /// The select list of these columns of the table `alias`.
            pub(crate) fn columns(alias: &str) -> String {
                let columns: Vec<_> =
                    Self::COLUMNS.iter().map(|column| format!("{alias}.{column}")).collect();
                columns.join(", ")
            }

            /// Reads the columns from the one at `first` on.
            pub(crate) fn read<'r, R>(row: &'r R, first: usize) -> sqlx::Result<Self>
            where
                R: sqlx::Row,
                usize: sqlx::ColumnIndex<R>,
                $($type: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,)*
            {
                let mut next = first..;
                let mut at = || next.next().unwrap_or(first);
                Ok(Self { $($field: row.try_get(at())?,)* })
            }
        }

        impl<'q, DB> $crate::store::row::Bind<'q, DB> for $name
        where
            DB: sqlx::Database,
            $($type: sqlx::Encode<'q, DB> + sqlx::Type<DB>,)*
        {
            fn bind_to(
                self,
                query: $crate::store::row::Query<'q, DB>,
            ) -> $crate::store::row::Query<'q, DB> {
                query$(.bind(self.$field))*
            }
        }
    };
}
pub(crate) use row;

/// A statement that takes values.
pub(crate) type Query<'q, DB> = sqlx::query::Query<'q, DB, <DB as sqlx::Database>::Arguments>;

/// What can be the values of a statement, in the order of its columns.
pub(crate) trait Bind<'q, DB: sqlx::Database> {
    /// Binds all of them.
    fn bind_to(self, query: Query<'q, DB>) -> Query<'q, DB>;
}

/// A stored value that the engine cannot have written.
fn corrupt(
    table: &'static str,
    column: &'static str,
    id: impl std::fmt::Display,
    detail: impl std::fmt::Display,
) -> StoreError {
    StoreError::Corrupt { table, column, id: format!("{id}"), detail: format!("{detail}") }
}

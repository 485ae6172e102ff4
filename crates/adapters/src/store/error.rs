//! What a failure of the database means for the caller.

use sea_orm::{DbErr, RuntimeErr};
use taskflow_application::ports::StoreError;

/// A failure inside a unit of work, before it is decided whether to try the
/// whole unit again.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The driver failed.
    Driver(sqlx::Error),
    /// Anything that already has its meaning.
    Store(StoreError),
}

impl Fault {
    /// Whether the database gave up this unit of work in favour of another one,
    /// so that the same unit may succeed when it is repeated.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Self::Driver(sqlx::Error::Database(fault)) => {
                matches!(fault.code().as_deref(), Some("40001" | "40P01"))
            }
            _ => false,
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(fault: sqlx::Error) -> Self {
        Self::Driver(fault)
    }
}

impl From<StoreError> for Fault {
    fn from(fault: StoreError) -> Self {
        Self::Store(fault)
    }
}

impl From<DbErr> for Fault {
    fn from(fault: DbErr) -> Self {
        Self::Store(from_orm(&fault))
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Driver(fault) => from_sqlx(&fault),
            Fault::Store(fault) => fault,
        }
    }
}

/// The meaning of an error of SeaORM.
pub(crate) fn from_orm(fault: &DbErr) -> StoreError {
    match fault {
        DbErr::Conn(RuntimeErr::SqlxError(inner))
        | DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Query(RuntimeErr::SqlxError(inner)) => from_sqlx(inner),
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => StoreError::Unavailable(fault.to_string()),
        _ => StoreError::Rejected(fault.to_string()),
    }
}

/// The meaning of an error of sqlx.
pub(crate) fn from_sqlx(fault: &sqlx::Error) -> StoreError {
    let text = fault.to_string();
    match fault {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => StoreError::Unavailable(text),
        sqlx::Error::Database(inner) => {
            let code = inner.code().unwrap_or_default();
            match meaning(&code) {
                Meaning::Unavailable => StoreError::Unavailable(text),
                Meaning::Full => StoreError::Full(text),
                Meaning::Rejected => StoreError::Rejected(text),
            }
        }
        _ => StoreError::Rejected(text),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Unavailable,
    Full,
    Rejected,
}

/// PostgreSQL's codes have five characters; SQLite's are numbers of one to four
/// digits, of which the low byte is the kind of error.
fn meaning(code: &str) -> Meaning {
    const SQLITE_FULL: u32 = 13;
    // BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, CANTOPEN, PROTOCOL.
    const SQLITE_PASSING: [u32; 7] = [5, 6, 7, 9, 10, 14, 15];
    if code.len() < 5 {
        return match code.parse::<u32>().map(|code| code & 0xff) {
            Ok(SQLITE_FULL) => Meaning::Full,
            Ok(kind) if SQLITE_PASSING.contains(&kind) => Meaning::Unavailable,
            _ => Meaning::Rejected,
        };
    }
    match code {
        "53100" => Meaning::Full,
        // Shutting down or starting; cancelled, a lock timeout, a standby, an idle transaction that was ended.
        "57P01" | "57P02" | "57P03" | "57014" | "55P03" | "25006" | "25P02" | "25P03" => Meaning::Unavailable,
        _ if ["08", "40", "53", "58"].iter().any(|class| code.starts_with(class)) => Meaning::Unavailable,
        _ => Meaning::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_meanings() {
        for code in ["08006", "53300", "57P01", "40P01", "58030", "5", "261", "10", "522", "14"] {
            assert_eq!(meaning(code), Meaning::Unavailable, "{code}");
        }
        for code in ["53100", "13"] {
            assert_eq!(meaning(code), Meaning::Full, "{code}");
        }
        for code in ["23505", "42P01", "1", "19", "2067", ""] {
            assert_eq!(meaning(code), Meaning::Rejected, "{code}");
        }
    }

    #[test]
    fn a_closed_pool_is_unavailable() {
        assert!(matches!(from_sqlx(&sqlx::Error::PoolClosed), StoreError::Unavailable(_)));
        let fault = DbErr::Query(RuntimeErr::SqlxError(sqlx::Error::RowNotFound.into()));
        assert!(matches!(from_orm(&fault), StoreError::Rejected(_)));
    }
}

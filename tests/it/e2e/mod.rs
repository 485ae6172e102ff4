//! The real binary, real HTTP, real databases.

mod access;
mod api;
mod automation;
mod canaries;
mod cluster;
mod configuration;
mod crash;
mod doctor;
mod drain;
mod execution;
mod faults;
mod hostile;
mod idempotency;
mod insight;
mod kill;
mod lease;
mod limits;
mod outage;
mod pulse;
mod rates;
mod rules;
mod rules_kept;
mod schedulers;
mod secrets;
mod siege;
mod surface;
mod target;
mod tools;
mod traces;
mod webhook_keys;

/// Writes a test for each database.
macro_rules! on_both_databases {
    ($($name:ident)*) => {$(
        mod $name {
            #[tokio::test]
            async fn on_sqlite() -> anyhow::Result<()> {
                super::$name($crate::e2e::api::Store::sqlite()?).await
            }

            #[tokio::test]
            async fn on_postgres() -> anyhow::Result<()> {
                super::$name($crate::e2e::api::Store::postgres().await?).await
            }
        }
    )*};
}
use on_both_databases;

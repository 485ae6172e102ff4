//! PostgreSQL for tests: one shared server for each run, and servers that a test may crash.
//!
//! [`fresh_database`] gives a new, empty database on a server that all test
//! processes of this build directory share. Whoever needs it first starts it.
//! Every process that uses it holds a shared lock on a file; a watchdog outlives
//! the tests and stops the server when nobody has held the lock for a while.
//! So it does not matter whether tests share one process or have one each, nor
//! how they end.
//!
//! [`Cluster::durable`] gives a server of its own, with all the care for
//! durability that a production server takes, to be stopped and started at will.
//!
//! `TASKFLOW_TEST_PG_URL` names a server to use instead of the shared one;
//! `TASKFLOW_TEST_PG_BIN` the directory of `initdb` and `pg_ctl`. A missing
//! PostgreSQL is an error, never a skipped test.

mod cluster;
mod shared;

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

pub use cluster::{Cluster, StopMode};

/// An empty database, dropped when this is.
#[derive(Debug)]
pub struct Database {
    /// Its URL, for any client.
    pub url: String,
    name: String,
    server: String,
}

/// A new, empty database on the shared server.
pub async fn fresh_database() -> Result<Database> {
    let server = shared::server_url().await?;
    create_database(&server).await
}

/// A new, empty database on the server whose maintenance database is at `server`.
pub async fn create_database(server: &str) -> Result<Database> {
    let name = next_name();
    // `file_copy` would force checkpoints; the default writes little for an empty database.
    execute(server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await?;
    let url = with_database(server, &name)?;
    Ok(Database { url, name, server: server.to_owned() })
}

/// Runs statements that take no parameters on the database at `url`.
pub async fn execute(url: &str, sql: &str) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .with_context(|| format!("cannot reach PostgreSQL at {url}"))?;
    let driver = tokio::spawn(connection);
    let outcome = client.batch_execute(sql).await.with_context(|| format!("failed: {sql}"));
    drop(client);
    let _ = driver.await;
    outcome
}

impl Drop for Database {
    /// Drops it on a thread of its own, as this may run inside any runtime. What
    /// is left by a killed test goes when the shared server does.
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let server = self.server.clone();
        let thread = std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                // The server may be stopped on purpose; then there is nothing to tidy.
                let _ = runtime.block_on(execute(&server, &sql));
            }
        });
        let _ = thread.join();
    }
}

fn next_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Process ids come round again within the life of a server that somebody
    // else provides, so a name also carries part of a random id.
    let random = uuid::Uuid::from_u128(seed());
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("t{}_{next}_{}", std::process::id(), &random.simple().to_string()[..8])
}

fn seed() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let high = RandomState::new().hash_one(1);
    let low = RandomState::new().hash_one(2);
    (u128::from(high) << 64) | u128::from(low)
}

fn with_database(server: &str, name: &str) -> Result<String> {
    let (rest, query) = server.split_once('?').map_or((server, None), |(rest, query)| (rest, Some(query)));
    let slashes = rest.find("://").context("a PostgreSQL URL has a scheme")? + 3;
    let path = rest[slashes..].find('/').map_or(rest.len(), |at| slashes + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{}/{name}{query}", &rest[..path]))
}

/// Everything that a database holds, as SQL.
pub fn dump(url: &str) -> Result<String> {
    let output = cluster::program("pg_dump")?.args(["--inserts", "--dbname", url]).output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_replaced_in_the_url() {
        let url = |server| with_database(server, "t").unwrap();
        assert_eq!(url("postgres://u@h:1/postgres"), "postgres://u@h:1/t");
        assert_eq!(url("postgres://u@h:1"), "postgres://u@h:1/t");
        assert_eq!(url("postgres://h/x?a=b"), "postgres://h/t?a=b");
    }

    #[test]
    fn names_differ() {
        assert_ne!(next_name(), next_name());
    }
}

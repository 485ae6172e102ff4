//! What is measured: an engine like every other, on an empty schema of its own.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use taskflow_adapters::system::SystemIds;
use taskflow_application::World;
use taskflow_application::maintain::{Maintain, Retention};
use tokio_util::sync::CancellationToken;

use crate::config::{self, DatabaseUrl};
use crate::database::Database;
use crate::loops;
use crate::runner::Runner;
use crate::wiring::Engine;

/// How long the leases of the bench last, in milliseconds.
pub(super) const LEASE_MS: u64 = 30_000;

/// An engine on an empty schema of its own, with all loops running.
pub(super) struct Subject {
    pub(super) world: World,
    pub(super) database: Database,
    runner: Runner,
    stop: CancellationToken,
    place: Place,
}

/// What is to go when the bench is over.
enum Place {
    Schema,
    File(String),
}

impl Subject {
    /// Makes the schema and starts the loops.
    pub(super) async fn open(config: &config::Database) -> Result<Self> {
        let name = format!("bench_{}", std::process::id());
        let (apart, place, schema) = match &config.url {
            DatabaseUrl::Postgres(_) => (config.clone(), Place::Schema, Some(name)),
            DatabaseUrl::Sqlite(url) => {
                // Beside the file that is in use, since it is its disk that counts.
                let path = url.trim_start_matches("sqlite://").split('?').next().unwrap_or_default();
                let path = std::path::Path::new(path).with_file_name(format!("{name}.db"));
                let path = path.to_string_lossy().into_owned();
                let url = DatabaseUrl::Sqlite(format!("sqlite://{path}"));
                (config::Database { url, ..config.clone() }, Place::File(path), None)
            }
        };
        let stop = CancellationToken::new();
        let database = Database::open_in(&apart, schema).await?;
        database.migrate().await?;
        let engine = Engine::over(database, Arc::new(SystemIds::new()), None, &stop).await?;
        let runner = Runner::new(engine.world.clock.clone(), stop.clone());
        let maintain = Maintain::new(engine.world.clone(), Retention::default(), LEASE_MS);
        loops::start_engine(&runner, &engine.world, Arc::new(maintain), LEASE_MS);
        Ok(Self { world: engine.world, database: engine.database, runner, stop, place })
    }

    /// Bytes of write-ahead log that the server has written so far.
    pub(super) async fn wal_bytes(&self) -> Result<Option<i64>> {
        match &self.database {
            Database::Postgres(store) => Ok(Some(store.wal_bytes().await?)),
            Database::Sqlite(_) => Ok(None),
        }
    }

    /// What autovacuum would do within minutes, so that a run does not depend on when.
    pub(super) async fn refresh_statistics(&self) -> Result<()> {
        match &self.database {
            Database::Postgres(store) => Ok(store.refresh_statistics().await?),
            Database::Sqlite(_) => Ok(()),
        }
    }

    /// Stops the loops and takes the schema away.
    pub(super) async fn close(self) -> Result<()> {
        self.stop.cancel();
        self.runner.ended().await;
        if let (Place::Schema, Database::Postgres(store)) = (&self.place, &self.database) {
            store.drop_schema().await.context("the schema of the bench cannot be dropped")?;
        }
        self.database.close().await;
        if let Place::File(path) = self.place {
            for suffix in ["", "-wal", "-shm"] {
                let file = format!("{path}{suffix}");
                if std::fs::exists(&file)? {
                    std::fs::remove_file(&file).with_context(|| format!("cannot remove {file}"))?;
                }
            }
        }
        Ok(())
    }
}

//! The key of secrets of a database that no file can lie beside.

use sqlx::SqliteConnection;
use taskflow_application::ports::StoreResult;
use taskflow_domain::Timestamp;

use super::super::error::{Fault, from_sqlx};
use super::super::sealed::{BODIES, Document, MOST, SECRETS, Sealed, TARGETS};
use super::SqliteStore;

const KEY: &str = "select key from sealing_key";

/// SQLite draws its random bytes from a stream cipher that the system's own seed.
const MAKE: &str = "insert into sealing_key (key, made_at) \
    values (randomblob(32), cast(unixepoch('subsec') * 1000000 as integer)) on conflict do nothing";

async fn make(tx: &mut SqliteConnection) -> Result<(Vec<u8>, bool), Fault> {
    let made = sqlx::query(MAKE).execute(&mut *tx).await?.rows_affected() == 1;
    Ok((sqlx::query_scalar(KEY).fetch_one(tx).await?, made))
}

impl SqliteStore {
    /// The key of secrets that the database holds, if it holds one.
    pub async fn sealing_key(&self) -> StoreResult<Option<Vec<u8>>> {
        let key = sqlx::query_scalar(KEY).fetch_optional(&self.shared.readers).await;
        key.map_err(|fault| from_sqlx(&fault))
    }

    /// What is kept sealed and still of use.
    pub async fn sealed(&self, now: Timestamp) -> StoreResult<Sealed> {
        let readers = &self.shared.readers;
        let look = async {
            let secrets = sqlx::query_as(SECRETS).bind(MOST).fetch_all(readers).await?;
            let targets: Vec<Document> = sqlx::query_as(TARGETS).bind(MOST).fetch_all(readers).await?;
            let bodies: Vec<Document> = sqlx::query_as(BODIES).bind(MOST).fetch_all(readers).await?;
            Ok(Sealed::of(now, secrets, &targets, &bodies))
        };
        look.await.map_err(|fault| from_sqlx(&fault))
    }

    /// The key of secrets that the database holds, made if there is none, and whether it was.
    pub async fn make_sealing_key(&self) -> StoreResult<(Vec<u8>, bool)> {
        self.shared.writer.run(|tx| Box::pin(make(tx))).await
    }
}

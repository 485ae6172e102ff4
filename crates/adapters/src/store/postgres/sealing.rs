//! The key of secrets that an installation makes for itself.

use sqlx::PgConnection;
use taskflow_application::ports::StoreResult;
use taskflow_domain::Timestamp;

use super::PostgresStore;
use super::unit::{End, Unit, repeat, transact_detached};
use crate::store::error::Fault;
use crate::store::sealed::{BODIES, Document, MOST, SECRETS, Sealed, TARGETS};

const KEY: &str = "select key from sealing_key where one";

/// Whoever comes first makes it; the others find it made. Three random ids have
/// 366 random bits, and as the server makes them itself, no log of statements
/// shows what came of them.
const MAKE: &str = "
insert into sealing_key (key, made_at)
select sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    (extract(epoch from clock_timestamp()) * 1000000)::int8
on conflict do nothing";

struct Make;

impl Unit for Make {
    type Output = (Vec<u8>, bool);

    async fn run(&self, connection: &mut PgConnection) -> Result<End<Self::Output>, Fault> {
        let made = sqlx::query(MAKE).execute(&mut *connection).await?.rows_affected() == 1;
        let key = sqlx::query_scalar(KEY).fetch_one(connection).await?;
        Ok(End::Commit((key, made)))
    }
}

impl PostgresStore {
    /// The key of secrets that the database holds, if it holds one.
    pub async fn sealing_key(&self) -> StoreResult<Option<Vec<u8>>> {
        repeat(|| sqlx::query_scalar(KEY).fetch_optional(&self.inner.pool)).await
    }

    /// What is kept sealed and still of use.
    pub async fn sealed(&self, now: Timestamp) -> StoreResult<Sealed> {
        let pool = &self.inner.pool;
        let secrets = repeat(|| sqlx::query_as(SECRETS).bind(MOST).fetch_all(pool)).await?;
        let targets: Vec<Document> = repeat(|| sqlx::query_as(TARGETS).bind(MOST).fetch_all(pool)).await?;
        let bodies: Vec<Document> = repeat(|| sqlx::query_as(BODIES).bind(MOST).fetch_all(pool)).await?;
        Ok(Sealed::of(now, secrets, &targets, &bodies))
    }

    /// The key of secrets that the database holds, made if there is none, and whether it was.
    pub async fn make_sealing_key(&self) -> StoreResult<(Vec<u8>, bool)> {
        transact_detached(&self.inner.warm, Make).await
    }
}

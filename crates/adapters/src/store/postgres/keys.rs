//! API keys.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use taskflow_application::ports::{AuditNote, KeyPage, KeyStore, KnownKey, Rotated, Rotation, StoreResult};
use taskflow_domain::{ApiKey, KeyId, Timestamp};
use uuid::Uuid;

use super::unit::{End, Unit, repeat, transact_detached};
use super::{Inner, audit, int};
use crate::store::error::Fault;
use crate::store::row::KeyRow;

const CREATE: &str = "
insert into api_key (id, name, tenant_id, scopes, digest, rate_limit, rate_period_ms, created_at, created_by,
    expires_at, family)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

const REVOKE: &str = "update api_key set revoked_at = $2 where id = $1 and revoked_at is null";

/// `least` leaves nulls out.
const EXPIRE: &str = "update api_key set expires_at = least(expires_at, $2) where id = $1";

const USED: &str = "
update api_key k set last_used_at = greatest(k.last_used_at, u.at)
from unnest($1::uuid[], $2::int8[]) u(id, at) where k.id = u.id";

/// The first of the family stays for ever, and whoever rotates one of it holds it.
const HOLD: &str = "
select f.id from api_key k join api_key f on f.id = coalesce(k.family, k.id) where k.id = $1 for update of f";

/// A statement that reads keys with the slugs of their tenants.
fn select(rest: &str) -> String {
    let columns = KeyRow::columns("k");
    format!("select {columns}, t.slug from api_key k left join tenant t on t.id = k.tenant_id {rest}")
}

static FIND: LazyLock<String> = LazyLock::new(|| select("where k.id = any($1::uuid[])"));
static FAMILY: LazyLock<String> = LazyLock::new(|| {
    select(
        "where k.id in (
            select coalesce(m.family, m.id) from api_key m where m.id = $1
            union
            select s.id from api_key m join api_key s on s.family = coalesce(m.family, m.id) where m.id = $1
        ) order by k.id",
    )
});
static LIST: LazyLock<String> =
    LazyLock::new(|| select("where ($1::uuid is null or k.id < $1) order by k.id desc limit $2::int4"));
static LIST_OF_TENANT: LazyLock<String> = LazyLock::new(|| {
    select("where k.tenant_id = $3 and ($1::uuid is null or k.id < $1) order by k.id desc limit $2::int4")
});

/// The port over PostgreSQL.
pub(super) struct PgKeys(pub(super) Arc<Inner>);

fn known(row: &PgRow) -> StoreResult<KnownKey> {
    let read = || Ok((KeyRow::read(row, 0)?, row.try_get::<Option<String>, _>(KeyRow::COLUMNS.len())?));
    let (key, slug): (KeyRow, _) = read().map_err(|fault: sqlx::Error| Fault::from(fault))?;
    key.known(slug.as_deref())
}

async fn keep(connection: &mut PgConnection, KnownKey { key, digest }: &KnownKey) -> Result<(), Fault> {
    sqlx::query(CREATE)
        .bind(key.id.0)
        .bind(&key.name)
        .bind(key.tenant.as_ref().map(|(id, _)| id.0))
        .bind(i16::from(key.scopes.bits()))
        .bind(digest.as_bytes().as_slice())
        .bind(key.rate.map(|rate| int(rate.limit)))
        .bind(key.rate.map(|rate| int(rate.period_ms)))
        .bind(key.created_at.micros())
        .bind(key.created_by.as_str())
        .bind(key.expires_at.map(Timestamp::micros))
        .bind(key.family.0)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

fn family_of(rows: &[PgRow]) -> StoreResult<Vec<ApiKey>> {
    rows.iter().map(|row| known(row).map(|known| known.key)).collect()
}

struct Create {
    known: KnownKey,
    note: Option<AuditNote>,
}

impl Unit for Create {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<End<()>, Fault> {
        keep(connection, &self.known).await?;
        audit::append(connection, self.note.as_slice()).await?;
        Ok(End::Commit(()))
    }
}

struct Rotate {
    known: KnownKey,
    rotation: Rotation,
    note: Option<AuditNote>,
}

impl Unit for Rotate {
    type Output = StoreResult<Rotated>;

    async fn run(&self, connection: &mut PgConnection) -> Result<End<Self::Output>, Fault> {
        let Rotation { of, old_ends, .. } = self.rotation;
        sqlx::query(HOLD).bind(of.0).fetch_optional(&mut *connection).await?;
        // Only now, so that what was rotated meanwhile is seen.
        let family = sqlx::query(AssertSqlSafe(FAMILY.as_str())).bind(of.0).fetch_all(&mut *connection);
        let rotated = family_of(&family.await?).map(|family| self.rotation.of_family(&family));
        if !matches!(rotated, Ok(Rotated::Done)) {
            return Ok(End::Undo(rotated));
        }
        keep(connection, &self.known).await?;
        sqlx::query(EXPIRE).bind(of.0).bind(old_ends.micros()).execute(&mut *connection).await?;
        audit::append(connection, self.note.as_slice()).await?;
        Ok(End::Commit(rotated))
    }
}

struct Revoke {
    id: KeyId,
    now: Timestamp,
    note: Option<AuditNote>,
}

impl Unit for Revoke {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<End<()>, Fault> {
        sqlx::query(REVOKE).bind(self.id.0).bind(self.now.micros()).execute(&mut *connection).await?;
        audit::append(connection, self.note.as_slice()).await?;
        Ok(End::Commit(()))
    }
}

#[async_trait]
impl KeyStore for PgKeys {
    async fn create(&self, key: &KnownKey, note: Option<AuditNote>) -> StoreResult<()> {
        transact_detached(&self.0.warm, Create { known: key.clone(), note }).await
    }

    async fn rotate(
        &self,
        key: &KnownKey,
        rotation: Rotation,
        note: Option<AuditNote>,
    ) -> StoreResult<Rotated> {
        transact_detached(&self.0.warm, Rotate { known: key.clone(), rotation, note }).await?
    }

    async fn family(&self, id: KeyId) -> StoreResult<Vec<ApiKey>> {
        let read = || sqlx::query(AssertSqlSafe(FAMILY.as_str())).bind(id.0).fetch_all(&self.0.pool);
        family_of(&repeat(read).await?)
    }

    async fn find(&self, ids: &[KeyId]) -> StoreResult<Vec<KnownKey>> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let rows =
            repeat(|| sqlx::query(AssertSqlSafe(FIND.as_str())).bind(&ids).fetch_all(&self.0.pool)).await?;
        rows.iter().map(known).collect()
    }

    async fn list(&self, page: KeyPage) -> StoreResult<Vec<ApiKey>> {
        let text = if page.tenant.is_some() { LIST_OF_TENANT.as_str() } else { LIST.as_str() };
        let read = || {
            let query =
                sqlx::query(AssertSqlSafe(text)).bind(page.before.map(|id| id.0)).bind(int(page.limit));
            match page.tenant {
                Some(tenant) => query.bind(tenant.0).fetch_all(&self.0.pool),
                None => query.fetch_all(&self.0.pool),
            }
        };
        let rows = repeat(read).await?;
        rows.iter().map(|row| known(row).map(|known| known.key)).collect()
    }

    async fn revoke(&self, id: KeyId, now: Timestamp, note: Option<AuditNote>) -> StoreResult<()> {
        transact_detached(&self.0.warm, Revoke { id, now, note }).await
    }

    async fn used(&self, uses: &[(KeyId, Timestamp)]) -> StoreResult<()> {
        let mut uses = uses.to_vec();
        // In the order of their ids, so that two processes do not wait for each other.
        uses.sort_unstable();
        let (ids, times): (Vec<Uuid>, Vec<i64>) = uses.iter().map(|(id, at)| (id.0, at.micros())).unzip();
        repeat(|| sqlx::query(USED).bind(&ids).bind(&times).execute(&self.0.pool)).await.map(drop)
    }
}

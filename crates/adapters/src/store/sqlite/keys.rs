//! [`KeyStore`]: who may come in.

use std::sync::LazyLock;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use taskflow_application::ports::{AuditNote, KeyPage, KeyStore, KnownKey, Rotated, Rotation, StoreResult};
use taskflow_domain::{ApiKey, KeyId, Timestamp};

use super::super::error::Fault;
use super::super::row::KeyRow;
use super::{SqliteStore, audit};

fn select(rest: &str) -> String {
    let columns = KeyRow::columns("k");
    format!("select {columns}, t.slug from api_key k left join tenant t on t.id = k.tenant_id {rest}")
}

static FIND: LazyLock<String> = LazyLock::new(|| select("where k.id = ?1"));
static FAMILY: LazyLock<String> = LazyLock::new(|| {
    select(
        "where k.id in (
            select coalesce(m.family, m.id) from api_key m where m.id = ?1
            union
            select s.id from api_key m join api_key s on s.family = coalesce(m.family, m.id) where m.id = ?1
        ) order by k.id",
    )
});
static LIST: LazyLock<String> = LazyLock::new(|| {
    select("where (?1 is null or k.id < ?1) and (?3 is null or k.tenant_id = ?3) order by k.id desc limit ?2")
});

const CREATE: &str = "insert into api_key \
      (id, name, tenant_id, scopes, digest, rate_limit, rate_period_ms, created_at, created_by, expires_at, family) \
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

const REVOKE: &str = "update api_key set revoked_at = ?2 where id = ?1 and revoked_at is null";

const EXPIRE: &str = "update api_key set expires_at = min(coalesce(expires_at, ?2), ?2) where id = ?1";

const USED: &str = "update api_key set last_used_at = max(coalesce(last_used_at, ?2), ?2) where id = ?1";

fn known(row: &SqliteRow) -> StoreResult<KnownKey> {
    let read = || Ok((KeyRow::read(row, 0)?, row.try_get::<Option<String>, _>(KeyRow::COLUMNS.len())?));
    let (key, slug): (KeyRow, _) = read().map_err(|fault: sqlx::Error| Fault::from(fault))?;
    key.known(slug.as_deref())
}

async fn keep(tx: &mut SqliteConnection, KnownKey { key, digest }: KnownKey) -> Result<(), Fault> {
    sqlx::query(CREATE)
        .bind(key.id.0)
        .bind(key.name)
        .bind(key.tenant.map(|(id, _)| id.0))
        .bind(i16::from(key.scopes.bits()))
        .bind(digest.as_bytes().to_vec())
        .bind(key.rate.map(|rate| rate.limit))
        .bind(key.rate.map(|rate| rate.period_ms))
        .bind(key.created_at.micros())
        .bind(key.created_by.as_str().to_owned())
        .bind(key.expires_at.map(Timestamp::micros))
        .bind(key.family.0)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

fn family_of(rows: &[SqliteRow]) -> StoreResult<Vec<ApiKey>> {
    rows.iter().map(|row| known(row).map(|known| known.key)).collect()
}

#[async_trait]
impl KeyStore for SqliteStore {
    async fn create(&self, key: &KnownKey, note: Option<AuditNote>) -> StoreResult<()> {
        let key = key.clone();
        let work = self.shared.writer.run(move |tx| {
            Box::pin(async move {
                keep(tx, key).await?;
                audit::append(tx, note.as_slice()).await
            })
        });
        work.await
    }

    async fn rotate(
        &self,
        key: &KnownKey,
        rotation: Rotation,
        note: Option<AuditNote>,
    ) -> StoreResult<Rotated> {
        let key = key.clone();
        let work = self.shared.writer.run(move |tx| {
            Box::pin(async move {
                let Rotation { of, old_ends, .. } = rotation;
                let query = sqlx::query(AssertSqlSafe(FAMILY.as_str())).bind(of.0);
                let family = family_of(&query.fetch_all(&mut *tx).await?);
                let rotated = family.map(|family| rotation.of_family(&family));
                if matches!(rotated, Ok(Rotated::Done)) {
                    keep(tx, key).await?;
                    sqlx::query(EXPIRE).bind(of.0).bind(old_ends.micros()).execute(&mut *tx).await?;
                    audit::append(tx, note.as_slice()).await?;
                }
                Ok(rotated)
            })
        });
        work.await?
    }

    async fn family(&self, id: KeyId) -> StoreResult<Vec<ApiKey>> {
        let query = sqlx::query(AssertSqlSafe(FAMILY.as_str())).bind(id.0);
        family_of(&query.fetch_all(&self.shared.readers).await.map_err(Fault::from)?)
    }

    async fn find(&self, ids: &[KeyId]) -> StoreResult<Vec<KnownKey>> {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let query = sqlx::query(AssertSqlSafe(FIND.as_str())).bind(id.0);
            let row = query.fetch_optional(&self.shared.readers).await.map_err(Fault::from)?;
            found.extend(row.as_ref().map(known).transpose()?);
        }
        Ok(found)
    }

    async fn list(&self, page: KeyPage) -> StoreResult<Vec<ApiKey>> {
        let query = sqlx::query(AssertSqlSafe(LIST.as_str()))
            .bind(page.before.map(|id| id.0))
            .bind(page.limit)
            .bind(page.tenant.map(|tenant| tenant.0));
        let rows = query.fetch_all(&self.shared.readers).await.map_err(Fault::from)?;
        rows.iter().map(|row| known(row).map(|known| known.key)).collect()
    }

    async fn revoke(&self, id: KeyId, now: Timestamp, note: Option<AuditNote>) -> StoreResult<()> {
        let work = self.shared.writer.run(move |tx| {
            Box::pin(async move {
                sqlx::query(REVOKE).bind(id.0).bind(now.micros()).execute(&mut *tx).await?;
                audit::append(tx, note.as_slice()).await
            })
        });
        work.await
    }

    async fn used(&self, uses: &[(KeyId, Timestamp)]) -> StoreResult<()> {
        let uses = uses.to_vec();
        let work = self.shared.writer.run(move |tx| {
            Box::pin(async move {
                for (id, at) in uses {
                    sqlx::query(USED).bind(id.0).bind(at.micros()).execute(&mut *tx).await?;
                }
                Ok(())
            })
        });
        work.await
    }
}

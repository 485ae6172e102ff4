//! [`AuditStore`]: the chain of what was done.

use std::sync::LazyLock;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use taskflow_application::audit::link;
use taskflow_application::ports::{AuditEntry, AuditFilter, AuditHead, AuditNote, AuditStore, StoreResult};
use taskflow_domain::Timestamp;

use super::super::error::Fault;
use super::super::row::{AuditRow, Bind as _, audit_head};
use super::SqliteStore;

const HEAD: &str = "select seq, hash from audit_head";
const PUT_HEAD: &str = "update audit_head set seq = ?1, hash = ?2";

const ADD: &str = "insert into audit \
      (seq, at, actor, tenant, action, object, reason, was, became, request_id, prev_hash, hash) \
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

static LIST: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select {} from audit a where a.seq < ?1 \
          and (?2 is null or a.actor = ?2) and (?3 is null or a.tenant = ?3) \
          and (?4 is null or a.action = ?4) and (?5 is null or a.object = ?5) \
          and (?6 is null or a.at >= ?6) and (?7 is null or a.at < ?7) \
        order by a.seq desc limit ?8",
        AuditRow::columns("a")
    )
});
static CHAIN: LazyLock<String> = LazyLock::new(|| {
    let columns = AuditRow::columns("a");
    format!("select {columns} from audit a where a.seq > ?1 order by a.seq limit ?2")
});

fn entry(row: &SqliteRow) -> StoreResult<AuditEntry> {
    AuditRow::read(row, 0).map_err(Fault::from)?.entry()
}

/// Adds `notes` to the chain, in the unit of work of what they tell of.
pub(super) async fn append(tx: &mut SqliteConnection, notes: &[AuditNote]) -> Result<(), Fault> {
    if notes.is_empty() {
        return Ok(());
    }
    let row = sqlx::query(HEAD).fetch_one(&mut *tx).await?;
    let entries = link(audit_head(row.try_get(0)?, row.try_get(1)?), notes);
    for entry in &entries {
        let row = AuditRow::of(entry);
        sqlx::query(PUT_HEAD).bind(row.seq).bind(row.hash.clone()).execute(&mut *tx).await?;
        row.bind_to(sqlx::query(ADD)).execute(&mut *tx).await?;
    }
    Ok(())
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn append(&self, notes: &[AuditNote]) -> StoreResult<()> {
        let notes = notes.to_vec();
        self.shared.writer.run(move |tx| Box::pin(async move { append(tx, &notes).await })).await
    }

    async fn list(
        &self,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> StoreResult<Vec<AuditEntry>> {
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let filter = filter.clone();
        let query = sqlx::query(AssertSqlSafe(LIST.as_str()))
            .bind(before)
            .bind(filter.actor)
            .bind(filter.tenant.map(|slug| slug.as_str().to_owned()))
            .bind(filter.action)
            .bind(filter.object)
            .bind(filter.since.map(Timestamp::micros))
            .bind(filter.until.map(Timestamp::micros))
            .bind(limit);
        let rows = query.fetch_all(&self.shared.readers).await.map_err(Fault::from)?;
        rows.iter().map(entry).collect()
    }

    async fn chain(&self, after: u64, limit: u32) -> StoreResult<Vec<AuditEntry>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let query = sqlx::query(AssertSqlSafe(CHAIN.as_str())).bind(after).bind(limit);
        let rows = query.fetch_all(&self.shared.readers).await.map_err(Fault::from)?;
        rows.iter().map(entry).collect()
    }

    async fn head(&self) -> StoreResult<AuditHead> {
        let row = sqlx::query(HEAD).fetch_one(&self.shared.readers).await.map_err(Fault::from)?;
        let read = || Ok(audit_head(row.try_get(0)?, row.try_get(1)?));
        Ok(read().map_err(|fault: sqlx::Error| Fault::from(fault))?)
    }
}

//! The audit: a chain that grows at one end, held by one writer at a time.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use taskflow_application::audit::link;
use taskflow_application::ports::{AuditEntry, AuditFilter, AuditHead, AuditNote, AuditStore, StoreResult};
use taskflow_domain::{TenantSlug, Timestamp};

use super::unit::{End, Unit, repeat, transact_detached};
use super::{Inner, int};
use crate::store::error::Fault;
use crate::store::row::{AuditRow, audit_head};

const HEAD: &str = "select seq, hash from audit_head where one";
const TAKE_HEAD: &str = "select seq, hash from audit_head where one for update";
const PUT_HEAD: &str = "update audit_head set seq = $1, hash = $2 where one";

const ADD: &str = "
insert into audit (seq, at, actor, tenant, action, object, reason, was, became, request_id, prev_hash, hash)
select * from unnest($1::int8[], $2::int8[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::bytea[], $12::bytea[])";

static LIST: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select {} from audit a where a.seq < $1
        and ($2::text is null or a.actor = $2) and ($3::text is null or a.tenant = $3)
        and ($4::text is null or a.action = $4) and ($5::text is null or a.object = $5)
        and ($6::int8 is null or a.at >= $6) and ($7::int8 is null or a.at < $7)
        order by a.seq desc limit $8::int4",
        AuditRow::columns("a")
    )
});
static CHAIN: LazyLock<String> = LazyLock::new(|| {
    let columns = AuditRow::columns("a");
    format!("select {columns} from audit a where a.seq > $1 order by a.seq limit $2::int4")
});

/// The port over PostgreSQL.
pub(super) struct PgAudit(pub(super) Arc<Inner>);

struct Append(Vec<AuditNote>);

impl Unit for Append {
    type Output = ();

    async fn run(&self, connection: &mut PgConnection) -> Result<End<()>, Fault> {
        append(connection, &self.0).await?;
        Ok(End::Commit(()))
    }
}

/// Adds `notes` to the chain, in the transaction of what they tell of. Everybody
/// who adds waits from here on for its end, so it is the last thing to do.
pub(super) async fn append(connection: &mut PgConnection, notes: &[AuditNote]) -> Result<(), Fault> {
    if notes.is_empty() {
        return Ok(());
    }
    let row = sqlx::query(TAKE_HEAD).fetch_one(&mut *connection).await?;
    let head = audit_head(row.try_get(0)?, row.try_get(1)?);
    let rows: Vec<AuditRow> = link(head, notes).iter().map(AuditRow::of).collect();
    let texts = |of: fn(&AuditRow) -> Option<String>| rows.iter().map(of).collect::<Vec<_>>();
    sqlx::query(ADD)
        .bind(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.at).collect::<Vec<_>>())
        .bind(texts(|row| Some(row.actor.clone())))
        .bind(texts(|row| row.tenant.clone()))
        .bind(texts(|row| Some(row.action.clone())))
        .bind(texts(|row| Some(row.object.clone())))
        .bind(texts(|row| row.reason.clone()))
        .bind(texts(|row| row.was.clone()))
        .bind(texts(|row| row.became.clone()))
        .bind(texts(|row| Some(row.request_id.clone())))
        .bind(rows.iter().map(|row| row.prev_hash.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.hash.clone()).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    if let Some(end) = rows.last() {
        sqlx::query(PUT_HEAD).bind(end.seq).bind(end.hash.clone()).execute(connection).await?;
    }
    Ok(())
}

fn entry(row: &PgRow) -> StoreResult<AuditEntry> {
    AuditRow::read(row, 0).map_err(Fault::from)?.entry()
}

#[async_trait]
impl AuditStore for PgAudit {
    async fn append(&self, notes: &[AuditNote]) -> StoreResult<()> {
        transact_detached(&self.0.warm, Append(notes.to_vec())).await
    }

    async fn list(
        &self,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> StoreResult<Vec<AuditEntry>> {
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let read = || {
            sqlx::query(AssertSqlSafe(LIST.as_str()))
                .bind(before)
                .bind(filter.actor.as_deref())
                .bind(filter.tenant.as_ref().map(TenantSlug::as_str))
                .bind(filter.action.as_deref())
                .bind(filter.object.as_deref())
                .bind(filter.since.map(Timestamp::micros))
                .bind(filter.until.map(Timestamp::micros))
                .bind(int(limit))
                .fetch_all(&self.0.pool)
        };
        repeat(read).await?.iter().map(entry).collect()
    }

    async fn chain(&self, after: u64, limit: u32) -> StoreResult<Vec<AuditEntry>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let read = || {
            sqlx::query(AssertSqlSafe(CHAIN.as_str())).bind(after).bind(int(limit)).fetch_all(&self.0.pool)
        };
        repeat(read).await?.iter().map(entry).collect()
    }

    async fn head(&self) -> StoreResult<AuditHead> {
        let row = repeat(|| sqlx::query(HEAD).fetch_one(&self.0.pool)).await?;
        let read = || Ok(audit_head(row.try_get(0)?, row.try_get(1)?));
        Ok(read().map_err(|fault: sqlx::Error| Fault::from(fault))?)
    }
}

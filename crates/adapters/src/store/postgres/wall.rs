//! The second wall between tenants: what a request looks at, it looks at as a
//! role that is shown the rows of its tenant alone.
//!
//! Every statement of the request path names the tenant. Should one forget to,
//! the database itself has nothing else to show. The engine's own statements,
//! which move jobs of many tenants together, do not stand behind this wall; see
//! the decision record on it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};
use taskflow_application::ports::StoreResult;
use taskflow_domain::TenantId;

use super::Inner;
use super::unit::{detached, is_broken};
use crate::store::error::from_sqlx;

/// Raises the wall around every table of tenants that has none yet.
const RAISE: &str = include_str!("wall.sql");

/// Whether a request can stand behind the wall.
const STANDS: &str = "
select to_regrole('taskflow_request') is not null
    and pg_has_role(current_user, to_regrole('taskflow_request')::oid, 'member')
    and (select relrowsecurity from pg_class where oid = 'job'::regclass)";

/// Raises the wall as far as the database's user may.
pub(super) async fn raise(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(RAISE).execute(connection).await.map(drop)
}

/// Whether the wall stands.
pub(super) async fn stands(pool: &PgPool) -> sqlx::Result<bool> {
    let stands: Option<bool> = sqlx::query_scalar(STANDS).fetch_one(pool).await?;
    Ok(stands.unwrap_or(false))
}

/// Begins a look on behalf of `tenant`. The number of a tenant is the engine's own.
async fn begin(pool: &PgPool, tenant: TenantId) -> sqlx::Result<Transaction<'static, Postgres>> {
    let TenantId(number) = tenant;
    let statement = format!(
        "begin read only; set local role taskflow_request; set local taskflow.tenant_id = '{number}'"
    );
    pool.begin_with(AssertSqlSafe(statement)).await
}

async fn once<T, W>(pool: &PgPool, tenant: Option<TenantId>, work: &W) -> sqlx::Result<T>
where
    W: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<T>>,
{
    let Some(tenant) = tenant else {
        let mut connection = pool.acquire().await?;
        return work(&mut connection).await;
    };
    let mut transaction = begin(pool, tenant).await?;
    match work(&mut transaction).await {
        Ok(found) => transaction.commit().await.map(|()| found),
        Err(fault) => {
            // The first fault is the one to tell of.
            let _ = transaction.rollback().await;
            Err(fault)
        }
    }
}

impl Inner {
    /// Looks at things of `tenant`, behind the wall. A connection that broke while
    /// it lay idle shows it here, and another one is tried. The look is carried to
    /// its end also when nobody waits for it any more, because a connection must
    /// not come back in the middle of a transaction.
    pub(super) async fn look<T, W>(self: &Arc<Self>, tenant: TenantId, work: W) -> StoreResult<T>
    where
        T: Send + 'static,
        W: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send + Sync + 'static,
    {
        let pool = self.pool.clone();
        let tenant = self.wall.load(std::sync::atomic::Ordering::Relaxed).then_some(tenant);
        detached(async move {
            let mut stale = pool.size();
            loop {
                match once(&pool, tenant, &work).await {
                    Err(fault) if stale > 0 && is_broken(&fault) => {
                        tracing::debug!(%fault, "a pooled connection was broken");
                        stale -= 1;
                    }
                    result => return result.map_err(|fault| from_sqlx(&fault)),
                }
            }
        })
        .await
    }
}

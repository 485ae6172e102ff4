//! Writing rules: the rule itself, its revision, its secrets, what it listens to.

use sqlx::SqliteConnection;
use taskflow_application::ports::{RulePut, SealedSecret};
use taskflow_domain::{Rule, RuleId, TenantId, Timestamp};

use super::super::super::error::Fault;
use super::super::super::row::{document_text, watched, webhook_key};

/// Puts a rule: see the port.
pub(super) async fn put(
    tx: &mut SqliteConnection,
    rule: &Rule,
    secrets: Option<&[SealedSecret]>,
    actor: &str,
) -> Result<RulePut, Fault> {
    let key = webhook_key(rule);
    if let Some(key) = key {
        let owner = sqlx::query_scalar(KEY_OWNER).bind(key.to_owned()).bind(rule.id.0);
        if let Some(owner) = owner.fetch_optional(&mut *tx).await? {
            return Ok(RulePut::of_owner(rule, TenantId(owner)));
        }
    }
    let body = document_text(rule)?;
    let sql = if rule.revision == 1 { INSERT } else { UPDATE };
    let written = sqlx::query(sql)
        .bind(rule.tenant.0)
        .bind(rule.id.0)
        .bind(rule.document.name.clone())
        .bind(rule.enabled)
        .bind(rule.mode.code())
        .bind(rule.revision)
        .bind(body.clone())
        .bind(rule.document.trigger.kind().code())
        .bind(key.map(ToOwned::to_owned))
        .bind(rule.next_at.map(Timestamp::micros))
        .bind(rule.queued_at.map(Timestamp::micros))
        .bind(rule.created_at.micros())
        .bind(rule.updated_at.micros())
        .execute(&mut *tx)
        .await?;
    if written.rows_affected() == 0 {
        return Ok(RulePut::Conflict);
    }
    belongings(tx, rule, body, secrets, actor).await?;
    Ok(RulePut::Done)
}

/// The revision, what waits, what the rule listens to, and its secrets.
async fn belongings(
    tx: &mut SqliteConnection,
    rule: &Rule,
    body: String,
    secrets: Option<&[SealedSecret]>,
    actor: &str,
) -> Result<(), Fault> {
    sqlx::query(REVISION)
        .bind(rule.tenant.0)
        .bind(rule.id.0)
        .bind(rule.revision)
        .bind(rule.enabled)
        .bind(rule.mode.code())
        .bind(body.clone())
        .bind(actor.to_owned())
        .bind(rule.updated_at.micros())
        .execute(&mut *tx)
        .await?;
    let unwait = sqlx::query(NO_WAITS).bind(rule.tenant.0).bind(rule.id.0).bind(rule.enabled);
    unwait.bind(rule.revision).bind(body).execute(&mut *tx).await?;
    sqlx::query(UNWATCH).bind(rule.tenant.0).bind(rule.id.0).execute(&mut *tx).await?;
    for state in watched(rule) {
        sqlx::query(WATCH).bind(rule.tenant.0).bind(state).bind(rule.id.0).execute(&mut *tx).await?;
    }
    if let Some(secrets) = secrets {
        sqlx::query(NO_SECRETS).bind(rule.tenant.0).bind(rule.id.0).execute(&mut *tx).await?;
        for secret in secrets {
            sqlx::query(SECRET)
                .bind(rule.tenant.0)
                .bind(rule.id.0)
                .bind(secret.slot)
                .bind(secret.sealed.clone())
                .bind(secret.expires_at.map(Timestamp::micros))
                .execute(&mut *tx)
                .await?;
        }
    }
    Ok(())
}

/// Deletes a rule with what belongs to it: see the port.
pub(super) async fn delete(
    tx: &mut SqliteConnection,
    tenant: TenantId,
    rule: RuleId,
    now: Timestamp,
) -> Result<bool, Fault> {
    let gone = sqlx::query(DELETE).bind(tenant.0).bind(rule.0).bind(now.micros()).execute(&mut *tx).await?;
    for sql in [UNWATCH, NO_SECRETS, ALL_WAITS] {
        sqlx::query(sql).bind(tenant.0).bind(rule.0).execute(&mut *tx).await?;
    }
    Ok(gone.rows_affected() == 1)
}

const INSERT: &str = "insert into rule (tenant_id, id, name, enabled, mode, revision, body, trigger_kind, \
      webhook_key, next_at, queued_at, created_at, updated_at) \
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) on conflict do nothing";

const UPDATE: &str = "update rule set name = ?3, enabled = ?4, mode = ?5, revision = ?6, body = ?7, \
      trigger_kind = ?8, webhook_key = ?9, next_at = ?10, queued_at = ?11, \
      updated_at = max(?12, ?13) \
    where tenant_id = ?1 and id = ?2 and revision = ?6 - 1 and deleted_at is null";

const REVISION: &str = "insert into rule_revision (tenant_id, rule_id, revision, enabled, mode, body, actor, at) \
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const KEY_OWNER: &str =
    "select tenant_id from rule where webhook_key = ?1 and deleted_at is null and id <> ?2";

const WATCH: &str = "insert into rule_watch (tenant_id, state, rule_id) values (?1, ?2, ?3)";

const UNWATCH: &str = "delete from rule_watch where tenant_id = ?1 and rule_id = ?2";

const SECRET: &str = "insert into rule_secret (tenant_id, rule_id, slot, sealed, expires_at) \
    values (?1, ?2, ?3, ?4, ?5)";

const NO_SECRETS: &str = "delete from rule_secret where tenant_id = ?1 and rule_id = ?2";

/// What waits of a fan-out, unless the rule stays on with the trigger that it has.
const NO_WAITS: &str = "delete from rule_wait where rule_tenant_id = ?1 and rule_id = ?2 and not (?3 and exists ( \
    select 1 from rule_revision o where o.tenant_id = ?1 and o.rule_id = ?2 and o.revision = ?4 - 1 \
      and json_extract(o.body, '$.trigger') = json_extract(?5, '$.trigger')))";

const ALL_WAITS: &str = "delete from rule_wait where rule_tenant_id = ?1 and rule_id = ?2";

const DELETE: &str = "update rule set deleted_at = ?3, enabled = 0, next_at = null, queued_at = null \
    where tenant_id = ?1 and id = ?2 and deleted_at is null";

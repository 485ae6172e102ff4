//! Writing rules: the rule itself, its revision, its secrets, what it listens to.

use sqlx::PgConnection;
use taskflow_application::ports::{AuditNote, RulePut, SealedSecret};
use taskflow_domain::{Actor, Rule, RuleId, TenantId, Timestamp};

use super::super::unit::{End, Unit};
use super::super::{audit, int};
use crate::store::error::Fault;
use crate::store::row::{document_text, watched, webhook_key};

const INSERT: &str = "
insert into rule (tenant_id, id, name, enabled, mode, revision, body, trigger_kind, webhook_key, next_at, queued_at,
    created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) on conflict do nothing";

const UPDATE: &str = "
update rule set name = $3, enabled = $4, mode = $5, revision = $6, body = $7, trigger_kind = $8, webhook_key = $9,
    next_at = $10, queued_at = $11, updated_at = greatest($12::int8, $13)
where tenant_id = $1 and id = $2 and revision = $6 - 1 and deleted_at is null";

const KEY_OWNER: &str =
    "select tenant_id from rule where webhook_key = $1 and deleted_at is null and id <> $2";

const REVISION: &str = "
insert into rule_revision (tenant_id, rule_id, revision, enabled, mode, body, actor, at)
values ($1, $2, $3, $4, $5, $6, $7, $8)";

const WATCH: &str =
    "insert into rule_watch (tenant_id, state, rule_id) select $1, s, $2 from unnest($3::int2[]) s";
const UNWATCH: &str = "delete from rule_watch where tenant_id = $1 and rule_id = $2";
const ALL_WAITS: &str = "delete from rule_wait where rule_tenant_id = $1 and rule_id = $2";
const NO_SECRETS: &str = "delete from rule_secret where tenant_id = $1 and rule_id = $2";
const SECRET: &str =
    "insert into rule_secret (tenant_id, rule_id, slot, sealed, expires_at) values ($1, $2, $3, $4, $5)";
/// What waits of a fan-out, unless the rule stays on with the trigger that it has.
const NO_WAITS: &str = "
delete from rule_wait w where w.rule_tenant_id = $1 and w.rule_id = $2 and not ($3 and exists (
    select 1 from rule_revision o where o.tenant_id = $1 and o.rule_id = $2 and o.revision = $4 - 1
        and o.body::jsonb -> 'trigger' = $5::jsonb -> 'trigger'))";
const DELETE: &str = "
update rule set deleted_at = $3, enabled = false, next_at = null, queued_at = null
where tenant_id = $1 and id = $2 and deleted_at is null";

/// A rule to be made or changed, with what belongs to it.
pub(super) struct Put {
    pub(super) rule: Rule,
    pub(super) secrets: Option<Vec<SealedSecret>>,
    pub(super) actor: Actor,
    pub(super) note: Option<AuditNote>,
}

impl Unit for Put {
    type Output = RulePut;

    async fn run(&self, connection: &mut PgConnection) -> Result<End<RulePut>, Fault> {
        let rule = &self.rule;
        let key = webhook_key(rule);
        if let Some(key) = key {
            // Whoever wants the same key waits here for the end of the other.
            sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 7598263487))")
                .bind(key)
                .execute(&mut *connection)
                .await?;
            let owner = sqlx::query_scalar(KEY_OWNER).bind(key).bind(rule.id.0);
            if let Some(owner) = owner.fetch_optional(&mut *connection).await? {
                return Ok(End::Undo(RulePut::of_owner(rule, TenantId(owner))));
            }
        }
        let body = document_text(rule)?;
        let written = sqlx::query(if rule.revision == 1 { INSERT } else { UPDATE })
            .bind(rule.tenant.0)
            .bind(rule.id.0)
            .bind(&rule.document.name)
            .bind(rule.enabled)
            .bind(rule.mode.code())
            .bind(int(rule.revision))
            .bind(&body)
            .bind(rule.document.trigger.kind().code())
            .bind(key)
            .bind(rule.next_at.map(Timestamp::micros))
            .bind(rule.queued_at.map(Timestamp::micros))
            .bind(rule.created_at.micros())
            .bind(rule.updated_at.micros())
            .execute(&mut *connection)
            .await?;
        if written.rows_affected() == 0 {
            return Ok(End::Undo(RulePut::Conflict));
        }
        self.belongings(connection, &body).await?;
        audit::append(connection, self.note.as_slice()).await?;
        Ok(End::Commit(RulePut::Done))
    }
}

impl Put {
    /// The revision, what the rule listens to, and its secrets.
    async fn belongings(&self, connection: &mut PgConnection, body: &str) -> Result<(), Fault> {
        let rule = &self.rule;
        sqlx::query(REVISION)
            .bind(rule.tenant.0)
            .bind(rule.id.0)
            .bind(int(rule.revision))
            .bind(rule.enabled)
            .bind(rule.mode.code())
            .bind(body)
            .bind(self.actor.as_str())
            .bind(rule.updated_at.micros())
            .execute(&mut *connection)
            .await?;
        sqlx::query(NO_WAITS)
            .bind(rule.tenant.0)
            .bind(rule.id.0)
            .bind(rule.enabled)
            .bind(int(rule.revision))
            .bind(body)
            .execute(&mut *connection)
            .await?;
        sqlx::query(UNWATCH).bind(rule.tenant.0).bind(rule.id.0).execute(&mut *connection).await?;
        let states = watched(rule);
        if !states.is_empty() {
            let query = sqlx::query(WATCH).bind(rule.tenant.0).bind(rule.id.0).bind(states);
            query.execute(&mut *connection).await?;
        }
        let Some(secrets) = &self.secrets else { return Ok(()) };
        sqlx::query(NO_SECRETS).bind(rule.tenant.0).bind(rule.id.0).execute(&mut *connection).await?;
        for secret in secrets {
            sqlx::query(SECRET)
                .bind(rule.tenant.0)
                .bind(rule.id.0)
                .bind(i16::from(secret.slot))
                .bind(&secret.sealed)
                .bind(secret.expires_at.map(Timestamp::micros))
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

/// A rule to be deleted with its secrets.
pub(super) struct Delete {
    pub(super) tenant: TenantId,
    pub(super) rule: RuleId,
    pub(super) now: Timestamp,
    pub(super) note: Option<AuditNote>,
}

impl Unit for Delete {
    type Output = bool;

    async fn run(&self, connection: &mut PgConnection) -> Result<End<bool>, Fault> {
        let query = sqlx::query(DELETE).bind(self.tenant.0).bind(self.rule.0).bind(self.now.micros());
        let gone = query.execute(&mut *connection).await?;
        for sql in [UNWATCH, NO_SECRETS, ALL_WAITS] {
            sqlx::query(sql).bind(self.tenant.0).bind(self.rule.0).execute(&mut *connection).await?;
        }
        if gone.rows_affected() == 0 {
            return Ok(End::Undo(false));
        }
        audit::append(connection, self.note.as_slice()).await?;
        Ok(End::Commit(true))
    }
}

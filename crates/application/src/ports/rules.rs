//! Automation rules and what they fire.

use async_trait::async_trait;
use taskflow_domain::rule::{Cause, Health, Mode, TriggerKind};
use taskflow_domain::{
    Actor, CorrelationId, FanOutId, Firing, FiringId, FiringOutcome, InboundEvent, JobId, Rule, RuleId,
    TenantId, TenantSlug, Timestamp,
};

use super::{AuditNote, NewJob, StoreResult};

/// A secret of a rule as it is kept: sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// 0: the current one; 1: the one before, which is still good for a while.
    pub slot: u8,
    /// What the vault made of it.
    pub sealed: Vec<u8>,
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedSecret").field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// What became of a write of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulePut {
    /// It stands.
    Done,
    /// The rule has another revision by now, or is gone. Nothing was written.
    Conflict,
    /// Another rule of the tenant has that webhook key. Nothing was written.
    KeyTaken,
    /// A rule of another tenant has that webhook key, which the tenant must not be
    /// told. Nothing was written.
    KeyElsewhere,
}

impl RulePut {
    /// What becomes of `rule` if its webhook key is one of `owner`'s.
    pub fn of_owner(rule: &Rule, owner: TenantId) -> Self {
        if rule.tenant == owner { Self::KeyTaken } else { Self::KeyElsewhere }
    }
}

/// Which part of a list of rules, by rising id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RulePage {
    /// Only rules after this one.
    pub after: Option<RuleId>,
    /// How many at most.
    pub limit: u32,
}

/// A rule as it stands in a list of all rules: without its document.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleLine {
    /// Its owner.
    pub tenant: TenantSlug,
    /// The rule.
    pub id: RuleId,
    /// What people call it.
    pub name: String,
    /// What kind of trigger.
    pub trigger: TriggerKind,
    /// Whether it is on.
    pub enabled: bool,
    /// Whether it acts.
    pub mode: Mode,
    /// How often it was saved.
    pub revision: u32,
    /// When it is due.
    pub next_at: Option<Timestamp>,
    /// The occurrence that waits for the end of the previous instance.
    pub queued_at: Option<Timestamp>,
    /// How it did lately.
    pub health: Health,
    /// How many jobs it has made.
    pub jobs_made: u64,
}

/// Which part of a rule's firings, newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FiringPage {
    /// Only firings older than this one.
    pub before: Option<FiringId>,
    /// Only those that came to this.
    pub outcome: Option<FiringOutcome>,
    /// Only those for this tenant, of a rule that acts for many.
    pub tenant: Option<TenantId>,
    /// How many at most.
    pub limit: u32,
}

/// The rules whose time has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DueRules {
    /// The rules, the longest due first.
    pub rules: Vec<Rule>,
    /// When the first of the others is due.
    pub next: Option<Timestamp>,
}

/// What becomes of the occurrence that waits for the end of the previous instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Queued {
    /// It stays as it is.
    #[default]
    Keep,
    /// This one waits.
    Put(Timestamp),
    /// None waits.
    Clear,
}

/// An occurrence that waits for the end of the previous instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Waits {
    /// The rule.
    pub rule: Rule,
    /// For whom, where the rule acts for many tenants: each of them has a
    /// previous instance of its own.
    pub of: Option<TenantId>,
    /// The occurrence.
    pub at: Timestamp,
}

/// What waits for the end of previous instances.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waiting {
    /// Occurrences whose previous instance has ended, the longest waiting first.
    pub ready: Vec<Waits>,
    /// Whether anything waits at all.
    pub any: bool,
}

/// A tenant's occurrence of a rule that acts for many begins to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The rule's owner.
    pub rule_tenant: TenantId,
    /// The rule.
    pub rule: RuleId,
    /// For whom.
    pub tenant: TenantId,
    /// The occurrence.
    pub at: Timestamp,
}

/// What must still be so when firings are committed, and is used up by it.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// The cursor of a cron rule.
    Occurrence {
        /// The rule's owner.
        tenant: TenantId,
        /// The rule.
        rule: RuleId,
        /// As it was seen.
        revision: u32,
        /// Where the cursor stands.
        before: Timestamp,
        /// Where it goes.
        after: Option<Timestamp>,
        /// What becomes of what waits.
        queued: Queued,
    },
    /// The occurrence of a cron rule that waited for the previous instance.
    Waiting {
        /// The rule's owner.
        tenant: TenantId,
        /// The rule.
        rule: RuleId,
        /// For whom, where the rule acts for many tenants.
        of: Option<TenantId>,
        /// The occurrence.
        at: Timestamp,
    },
    /// An event of the outbox, by its number there.
    Pending(i64),
    /// A delivery, which is kept with what it brings about. If its source has
    /// used its id before, nothing happens.
    Delivery(Box<InboundEvent>),
    /// The next tenants of a fan-out.
    FanOut {
        /// Which.
        id: FanOutId,
        /// After which tenant it stands.
        before: Option<TenantSlug>,
        /// After which tenant it stands then; `None` ends it.
        after: Option<TenantSlug>,
        /// For which tenants the occurrence waits from now on. Where one waits
        /// already, that one stays.
        waits: Vec<Wait>,
    },
    /// Nothing.
    Free,
}

/// One evaluation with the jobs that it makes.
#[derive(Clone, Debug)]
pub struct NewFiring {
    /// What it comes to if its jobs can be made: see [`settle_firing`](super::settle_firing).
    pub firing: Firing,
    /// The jobs.
    pub jobs: Vec<NewJob>,
}

/// An occurrence or an event for which a rule acts for many tenants, a few at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct FanOut {
    /// The fan-out.
    pub id: FanOutId,
    /// The rule's owner.
    pub rule_tenant: TenantId,
    /// The rule.
    pub rule: RuleId,
    /// What kind of trigger.
    pub trigger: TriggerKind,
    /// For what.
    pub cause: Cause,
    /// What there is one of, for each rule.
    pub key: Option<String>,
    /// When it began.
    pub at: Timestamp,
    /// How many firings stand before it.
    pub depth: u16,
    /// What ties together all that it brings about.
    pub correlation_id: CorrelationId,
    /// The last tenant that was looked at.
    pub after: Option<TenantSlug>,
}

/// What is committed together: all of it, or nothing because the claim was lost.
#[derive(Clone, Debug)]
pub struct Fire {
    /// What must still be so.
    pub claim: Claim,
    /// The evaluations.
    pub firings: Vec<NewFiring>,
    /// The fan-outs that begin.
    pub fan_outs: Vec<FanOut>,
}

/// What became of one [`Fire`].
#[derive(Clone, Debug, PartialEq)]
pub enum Fired {
    /// It happened. The firings as they came out; those that had happened
    /// before, for the same rule, tenant and key, are left out.
    Done(Vec<Firing>),
    /// The claim was lost: somebody else was first, or it is no longer so.
    Lost,
}

/// Firings counted by what they came to and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiringCount {
    /// What they came to.
    pub outcome: FiringOutcome,
    /// Why.
    pub reason: Option<String>,
    /// How many.
    pub count: u64,
}

/// Among how many due rules those who ask together are spread.
pub const DUE_SPREAD: u32 = 4_096;

/// How many of `due` rules to pass over, so as to begin at `place`.
pub fn due_offset(due: u32, limit: u32, place: f64) -> u32 {
    let room = due.min(DUE_SPREAD).saturating_sub(limit);
    ((f64::from(room) + 1.0) * place.clamp(0.0, 1.0)) as u32
}

/// Automation rules.
#[async_trait]
pub trait RuleStore: Send + Sync {
    /// Makes the rule, if its revision is 1, or changes it from the revision
    /// before, with its new secrets if there are any. What the engine keeps of
    /// it besides (health, counts) stays. Each revision is kept.
    /// With a note of it goes the change: both are made or neither.
    async fn put(
        &self,
        rule: &Rule,
        secrets: Option<&[SealedSecret]>,
        actor: &Actor,
        note: Option<AuditNote>,
    ) -> StoreResult<RulePut>;

    /// One rule.
    async fn get(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Option<Rule>>;

    /// How many rules a tenant has, counted up to `most`.
    async fn count(&self, tenant: TenantId, most: u32) -> StoreResult<u32>;

    /// Rules in rising order of their ids.
    async fn list(&self, tenant: TenantId, page: RulePage) -> StoreResult<Vec<Rule>>;

    /// The rules of all tenants, or of one, in rising order of their ids.
    async fn lines(&self, tenant: Option<TenantId>, page: RulePage) -> StoreResult<Vec<RuleLine>>;

    /// Deletes a rule and its secrets. Its firings and jobs stay. Whether it was there.
    /// The note of it is kept if it was.
    async fn delete(
        &self,
        tenant: TenantId,
        rule: RuleId,
        now: Timestamp,
        note: Option<AuditNote>,
    ) -> StoreResult<bool>;

    /// The rule with that webhook key, be it on or off.
    async fn by_webhook_key(&self, key: &str) -> StoreResult<Option<Rule>>;

    /// A rule's secrets, by slot.
    async fn secrets(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Vec<SealedSecret>>;

    /// Cron rules that are on and whose next occurrence has come, at most
    /// `limit`. Found by an index: what is not due costs nothing. `place`, from 0
    /// to below 1, says where among the first [`DUE_SPREAD`] of them to begin, so
    /// that several who ask together seldom get the same ones; at 0 it is the
    /// longest due.
    async fn due(&self, now: Timestamp, limit: u32, place: f64) -> StoreResult<DueRules>;

    /// Occurrences of cron rules that are on which waited for the end of the
    /// previous instance and need not wait any more, at most `limit`.
    async fn waiting(&self, limit: u32) -> StoreResult<Waiting>;

    /// For which of these tenants an occurrence of the rule waits, where the rule
    /// acts for many. What waits is forgotten when the rule gets another trigger,
    /// is switched off or deleted.
    async fn waits(&self, rule: RuleId, of: &[TenantId]) -> StoreResult<Vec<TenantId>>;

    /// Event rules of a tenant that are on.
    async fn listening(&self, tenant: TenantId) -> StoreResult<Vec<Rule>>;

    /// Commits firings, all of them in one transaction, and of each [`Fire`] all
    /// or nothing: the claim is used up, the firings are written, once for each
    /// rule, tenant and key, with their jobs as [`super::JobStore::insert`]
    /// would, the counts and the rule's health follow. What a tenant's limit or
    /// a known idempotency key makes of a firing, [`settle_firing`](super::settle_firing) says.
    async fn fire(&self, fires: Vec<Fire>) -> StoreResult<Vec<Fired>>;

    /// Of each rule and tenant, the jobs of the latest FIRED firing that have not ended.
    async fn unfinished(&self, of: &[(RuleId, TenantId)]) -> StoreResult<Vec<Vec<JobId>>>;

    /// Fan-outs that have not ended, at most `limit`, the oldest first, each kept
    /// from others until `until`. Of one rule, occurrences of the clock come one
    /// after the other.
    async fn fan_outs(&self, now: Timestamp, until: Timestamp, limit: u32) -> StoreResult<Vec<FanOut>>;

    /// A rule's firings for all tenants, newest first.
    async fn firings(&self, tenant: TenantId, rule: RuleId, page: FiringPage) -> StoreResult<Vec<Firing>>;

    /// The firings of a rule for a key.
    async fn firings_of(&self, rule: RuleId, key: &str) -> StoreResult<Vec<Firing>>;

    /// One firing for a tenant.
    async fn firing(&self, tenant: TenantId, firing: FiringId) -> StoreResult<Option<Firing>>;

    /// A tenant's firings of one cause, oldest first, at most `limit`.
    async fn firings_by_cause(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
        limit: u32,
    ) -> StoreResult<Vec<Firing>>;

    /// How often a rule came to what, and why.
    async fn counts(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Vec<FiringCount>>;

    /// Deletes firings older than `before` that are not the latest FIRED one of
    /// their rule and tenant, and ended fan-outs, at most `limit` of each.
    async fn prune_firings(&self, before: Timestamp, limit: u32) -> StoreResult<u32>;
}

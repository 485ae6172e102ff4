//! What every way of firing does before and after the commit.

use std::collections::BTreeMap;

use taskflow_domain::rule::reason;
use taskflow_domain::tenant::Tenant;
use taskflow_domain::{FanOutId, Firing, FiringOutcome, JobState, QueueName, Rule, TenantId, change};

use super::Automation;
use super::judge::Occasion;
use crate::jobs::JobWish;
use crate::meter;
use crate::ports::{FanOut, Fire, Fired, StoreError, StoreResult, Topic};
use crate::tally::Subject;

/// The same without what the store refused.
fn refused(mut fire: Fire) -> Fire {
    for new in &mut fire.firings {
        new.jobs.clear();
        new.firing.jobs.clear();
        new.firing.outcome = FiringOutcome::Error;
        new.firing.reason = Some(reason::NOT_STORED.to_owned());
        new.firing.detail = Some("the database refused what the rule asked for".to_owned());
    }
    fire
}

impl Automation {
    /// Commits firings, and tells everybody whom they concern.
    pub(super) async fn commit(&self, fires: Vec<Fire>) -> StoreResult<Vec<Fired>> {
        if fires.is_empty() {
            return Ok(Vec::new());
        }
        let jobs: Vec<_> = fires.iter().flat_map(|fire| &fire.firings).flat_map(|new| &new.jobs).collect();
        let due = jobs.iter().any(|job| job.standing.state() == JobState::Pending);
        let later = jobs.iter().any(|job| job.standing.state() == JobState::Scheduled);
        let made: BTreeMap<_, _> = jobs.iter().map(|job| (job.spec.id, Subject::of(&job.spec))).collect();
        let fan_outs = fires.iter().any(|fire| !fire.fan_outs.is_empty());
        let fired = self.fire(fires).await?;
        for firing in fired.iter().flat_map(firings) {
            meter::fired(firing);
        }
        // What a known idempotency key brought back is not among those that were to be made.
        let created = || fired.iter().flat_map(firings).flat_map(|firing| &firing.jobs);
        let created = || created().filter_map(|job| made.get(job));
        meter::created(&self.world.tally, created);
        let made = fired.iter().flat_map(firings).any(|firing| firing.outcome == FiringOutcome::Fired);
        if made && due {
            self.world.wakeups.nudge(Topic::Work);
        }
        if (made && later) || fan_outs {
            self.world.wakeups.nudge(Topic::Schedule);
        }
        Ok(fired)
    }

    /// Fires all in one transaction. If the store refuses that, each alone: what one
    /// rule asks for must not hold up the others, and is an error of its own.
    async fn fire(&self, fires: Vec<Fire>) -> StoreResult<Vec<Fired>> {
        let rules = &self.world.stores.rules;
        match rules.fire(fires.clone()).await {
            Err(StoreError::Rejected(_)) => {}
            done => return done,
        }
        let mut fired = Vec::with_capacity(fires.len());
        for fire in fires {
            match rules.fire(vec![fire.clone()]).await {
                Err(StoreError::Rejected(error)) => {
                    let of: Vec<_> = fire.firings.iter().map(|new| new.firing.rule.to_string()).collect();
                    tracing::error!(error, rules = of.join(" "), "what a rule asks for cannot be stored");
                    fired.extend(rules.fire(vec![refused(fire)]).await?);
                }
                done => fired.extend(done?),
            }
        }
        Ok(fired)
    }

    /// The tenants of these rules, by id.
    pub(super) async fn tenants_of(&self, rules: &[Rule]) -> StoreResult<BTreeMap<TenantId, Tenant>> {
        let mut ids: Vec<_> = rules.iter().map(|rule| rule.tenant).collect();
        ids.sort_unstable();
        ids.dedup();
        let tenants = self.world.stores.tenants.get_many(&ids).await?;
        Ok(tenants.into_iter().map(|tenant| (tenant.id, tenant)).collect())
    }

    /// A queue that takes no new jobs and that one of these is meant for.
    pub(super) fn draining(&self, wishes: &[JobWish]) -> Option<QueueName> {
        let mut queues = wishes.iter().map(|wish| wish.queue.clone().unwrap_or_else(QueueName::fallback));
        queues.find(|queue| self.world.drains.contains(queue))
    }

    /// The fan-out of a rule for an occasion.
    pub(super) fn fan_out_of(&self, rule: &Rule, occasion: &Occasion) -> FanOut {
        let id = FanOutId(self.world.ids.job(occasion.now).0);
        FanOut {
            id,
            rule_tenant: rule.tenant,
            rule: rule.id,
            trigger: occasion.kind,
            cause: occasion.cause,
            key: occasion.key.clone(),
            at: occasion.now,
            depth: occasion.depth,
            correlation_id: occasion.correlation,
            after: None,
        }
    }

    /// Cancels jobs of a previous instance, through the same path as anybody's.
    pub(super) async fn cancel_jobs(
        &self,
        tenant: TenantId,
        jobs: &[taskflow_domain::JobId],
        rule: &Rule,
    ) -> StoreResult<()> {
        let now = self.world.clock.now();
        let actor = taskflow_domain::Actor::from_stored(format!("rule:{}", rule.id));
        let found = self.world.stores.reader.get_many(tenant, jobs, now).await?;
        let cancel = |job| change::cancel(job, actor.clone(), Some("replaced by the next occurrence"), now);
        let (jobs, changes): (Vec<_>, Vec<_>) =
            found.iter().filter_map(|job| Some((job, cancel(job).ok().flatten()?))).unzip();
        if !changes.is_empty() {
            let committed = self.world.stores.jobs.commit(&changes).await?;
            meter::cancelled(&self.world.tally, &jobs, &changes, &committed);
            self.world.wakeups.nudge(Topic::Cancel);
        }
        Ok(())
    }
}

/// The firings that happened.
pub(super) fn firings(fired: &Fired) -> &[Firing] {
    match fired {
        Fired::Done(firings) => firings,
        Fired::Lost => &[],
    }
}

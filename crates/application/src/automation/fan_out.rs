//! Rules that act for many tenants.
//!
//! An occurrence or an event of such a rule begins a fan-out. Each step takes the
//! next tenants in the order of their slugs, evaluates the rule for each of them,
//! and commits the firings, the jobs and how far it got together. So a process
//! that dies leaves a fan-out that another one goes on with, and no tenant comes
//! twice; and no transaction grows with the number of tenants.

use std::sync::Arc;

use taskflow_domain::rule::{TriggerKind, reason};
use taskflow_domain::schedule::Overlap;
use taskflow_domain::schedule::overlap::{self, Admission};
use taskflow_domain::tenant::Tenant;
use taskflow_domain::{FiringOutcome, JobId, Rule, Timestamp};

use super::Automation;
use super::by_hand::of_hand;
use super::dispatch::of_event;
use super::fire::firings;
use super::judge::Occasion;
use super::tick::cron;
use crate::maintain::Step;
use crate::ports::{FanOut, Fire, FireClaim, NewFiring, StoreResult, Wait};

/// Fan-outs that are taken at once.
const TAKE: u32 = 4;
/// Tenants of one commit.
pub(super) const CHUNK: u32 = 500;
/// How long a fan-out is kept from others, in milliseconds: so long it stands
/// still if a process dies amid a step.
const HOLD_MS: i64 = 10_000;

impl Automation {
    /// Takes fan-outs a step further.
    pub async fn fan_out(&self) -> StoreResult<Step> {
        let now = self.world.clock.now();
        let open = self.world.stores.rules.fan_outs(now, now.plus_millis(HOLD_MS), TAKE).await?;
        let mut step = Step { more: !open.is_empty(), ..Step::default() };
        for fan_out in &open {
            let fire = self.next_tenants(fan_out, now).await?;
            let fired = self.commit(vec![fire]).await?;
            step.jobs += fired.iter().map(|fired| firings(fired).len() as u32).sum::<u32>();
        }
        Ok(step)
    }

    async fn next_tenants(&self, fan_out: &FanOut, now: Timestamp) -> StoreResult<Fire> {
        let claim =
            |after, waits| FireClaim::FanOut { id: fan_out.id, before: fan_out.after.clone(), after, waits };
        let nothing = Fire { claim: claim(None, Vec::new()), firings: Vec::new(), fan_outs: Vec::new() };
        let rule = self.world.stores.rules.get(fan_out.rule_tenant, fan_out.rule).await?;
        // A rule that was switched off or deleted meanwhile does nothing more.
        let Some(rule) = rule.filter(|rule| rule.enabled) else { return Ok(nothing) };
        let Some(occasion) = self.occasion_of(fan_out, &rule, now).await? else { return Ok(nothing) };
        let tenants = self.world.stores.tenants.list(fan_out.after.as_ref(), self.chunk).await?;
        let after =
            (tenants.len() == self.chunk as usize).then(|| tenants.last().map(|last| last.slug.clone()));
        let mut chosen = Vec::new();
        let mut fire = nothing;
        for tenant in &tenants {
            match self.is_meant(&rule, tenant, &occasion).await {
                Ok(true) => chosen.push(tenant),
                Ok(false) => {}
                Err(refused) => fire.firings.push(*refused),
            }
        }
        // Overlap is the clock's: who starts a rule by hand wants it now.
        let overlap = match (cron(&rule), fan_out.trigger) {
            (Some(cron), TriggerKind::Cron) => cron.overlap,
            _ => Overlap::Allow,
        };
        let instances = self.instances(&rule, overlap, &chosen).await?;
        let mut waits = Vec::new();
        for (tenant, instance) in chosen.into_iter().zip(instances) {
            let new = self.for_one(&rule, tenant, &occasion, overlap, &instance).await?;
            if let (Some(at), Admission::Queue) = (fan_out.cause.scheduled_at, instance.admission(overlap)) {
                waits.push(Wait { rule_tenant: rule.tenant, rule: rule.id, tenant: tenant.id, at });
            }
            fire.firings.push(new);
        }
        Ok(Fire { claim: claim(after.flatten(), waits), ..fire })
    }

    /// Whether the rule acts for the tenant.
    pub(super) async fn is_meant(
        &self,
        rule: &Rule,
        tenant: &Tenant,
        occasion: &Occasion,
    ) -> Result<bool, Box<NewFiring>> {
        let ready = self.ready(rule);
        let Some(source) = &ready.for_each else { return Ok(true) };
        let scope = Arc::new(occasion.scope(tenant));
        self.holds(source, &scope).await.map_err(|fault| {
            let why = (FiringOutcome::Error, reason::TENANT_ERROR, Some(fault.to_string()));
            Box::new(self.plain(rule, tenant.id, occasion, why))
        })
    }

    /// What there is of the rule for each tenant: its previous instance, and what waits for its end.
    async fn instances(
        &self,
        rule: &Rule,
        overlap: Overlap,
        tenants: &[&Tenant],
    ) -> StoreResult<Vec<Instance>> {
        if overlap == Overlap::Allow || tenants.is_empty() {
            return Ok(tenants.iter().map(|_| Instance::default()).collect());
        }
        let of: Vec<_> = tenants.iter().map(|tenant| tenant.id).collect();
        let waits = self.world.stores.rules.waits(rule.id, &of).await?;
        let of: Vec<_> = of.into_iter().map(|tenant| (rule.id, tenant)).collect();
        let running = self.world.stores.rules.unfinished(&of).await?;
        let instance =
            |(running, (_, tenant)): (_, &(_, _))| Instance { running, waits: waits.contains(tenant) };
        Ok(running.into_iter().zip(&of).map(instance).collect())
    }

    /// Each tenant has a previous instance of its own, and each may wait for its own.
    async fn for_one(
        &self,
        rule: &Rule,
        tenant: &Tenant,
        occasion: &Occasion,
        overlap: Overlap,
        instance: &Instance,
    ) -> StoreResult<NewFiring> {
        let refusal = match instance.admission(overlap) {
            Admission::Fire => return Ok(self.judge(rule, tenant, occasion).await),
            Admission::Replace => {
                self.cancel_jobs(tenant.id, &instance.running, rule).await?;
                return Ok(self.judge(rule, tenant, occasion).await);
            }
            Admission::Queue => (FiringOutcome::Blocked, reason::PREVIOUS_RUNNING, None),
            Admission::Skip if instance.waits => (FiringOutcome::Skipped, reason::ALREADY_QUEUED, None),
            Admission::Skip => (FiringOutcome::Skipped, reason::PREVIOUS_RUNNING, None),
        };
        Ok(self.plain(rule, tenant.id, occasion, refusal))
    }

    /// What the fan-out is for, as rules see it; `None` if nobody knows any more.
    async fn occasion_of(
        &self,
        fan_out: &FanOut,
        rule: &Rule,
        now: Timestamp,
    ) -> StoreResult<Option<Occasion>> {
        let occasion = match (fan_out.cause.scheduled_at, fan_out.cause.event, fan_out.cause.job) {
            (Some(at), ..) => Some(self.at(rule, at, now)),
            (_, Some(event), _) => {
                let event = self.world.stores.events.get(fan_out.rule_tenant, event).await?;
                event.map(|event| match fan_out.trigger {
                    TriggerKind::Manual => of_hand(rule, &event, now),
                    kind => of_event(&event, kind, now),
                })
            }
            (.., Some(job)) => {
                let job = self.world.stores.reader.get(fan_out.rule_tenant, job, now).await?;
                match job {
                    Some(job) => {
                        let state = job.standing.state();
                        let name =
                            taskflow_domain::rule::EventPattern::of_state(state).unwrap_or("job.ended");
                        Some(self.job_occasion(&job, name, fan_out.at, now).await?)
                    }
                    None => None,
                }
            }
            _ => None,
        };
        // Each tenant comes once, whatever the key is.
        let key = || fan_out.key.clone().unwrap_or_else(|| format!("fan_out:{}", fan_out.id));
        Ok(occasion.map(|occasion| Occasion {
            key: Some(key()),
            correlation: fan_out.correlation_id,
            depth: fan_out.depth,
            ..occasion
        }))
    }
}

/// What there is of a rule for one tenant.
#[derive(Default)]
struct Instance {
    /// The jobs of the previous instance that have not ended.
    running: Vec<JobId>,
    /// Whether an occurrence waits for their end.
    waits: bool,
}

impl Instance {
    const fn admission(&self, overlap: Overlap) -> Admission {
        overlap::decide(overlap, !self.running.is_empty(), self.waits)
    }
}

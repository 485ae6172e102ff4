//! The clock: firing what is due.
//!
//! No process leads. Each reads by an index some of the rules that are due,
//! decides what that means, and commits with a compare-and-set of the rules'
//! cursors: of several processes that decide the same, one commits. Each reads at
//! a place of its own, and again after each commit, so that they share the work
//! and seldom do it twice.

use std::sync::atomic::Ordering;

use serde_json::json;
use taskflow_domain::rule::{Cause, CronTrigger, Trigger, TriggerKind, reason};
use taskflow_domain::schedule::misfire::{self, Missed};
use taskflow_domain::schedule::overlap::{self, Admission};
use taskflow_domain::schedule::{Occurrence, Overlap};
use taskflow_domain::tenant::Tenant;
use taskflow_domain::{CorrelationId, Firing, FiringOutcome, JobId, Rule, Timestamp};

use super::Automation;
use super::judge::Occasion;
use crate::maintain::Step;
use crate::meter;
use crate::ports::{Fire, FireClaim, Fired, Queued, StoreResult, Waits};

/// Rules of one commit. What one commit costs besides is spread over them, and
/// what is behind them has to wait for it.
const COMMIT: u32 = 200;
/// Occurrences that waited for a previous instance and are fired in one step.
const WAITING: u32 = 100;
/// How often it is looked whether they still have to, in milliseconds.
const LOOK_AGAIN_MS: i64 = 500;
/// A look at what waits takes one part of so many of the time at most.
const LOOK_SHARE: i64 = 20;
/// When everything that was due was just being fired by others.
const BUSY_MS: i64 = 20;

impl Automation {
    /// Fires what is due by the clock.
    pub async fn tick(&self) -> StoreResult<Step> {
        let now = self.world.clock.now();
        let due = self.world.stores.rules.due(now, COMMIT, self.world.jitter.random()).await?;
        let done = if due.rules.is_empty() { 0 } else { self.fire_due(&due.rules, now).await? };
        let released = self.release(now).await?;
        let mut next = [due.next, released].into_iter().flatten().min();
        if done == 0 && !due.rules.is_empty() {
            let soon = now.plus_millis(BUSY_MS);
            next = Some(next.map_or(soon, |next| next.min(soon)));
        }
        Ok(Step { jobs: done, more: done > 0, next })
    }

    async fn fire_due(&self, rules: &[Rule], now: Timestamp) -> StoreResult<u32> {
        let tenants = self.tenants_of(rules).await?;
        let running = self.running(rules).await?;
        let mut fires = Vec::with_capacity(rules.len());
        for (rule, running) in rules.iter().zip(&running) {
            let Some(tenant) = tenants.get(&rule.tenant) else { continue };
            if let Some(fire) = self.occurrences(rule, tenant, running, now).await? {
                fires.push(fire);
            }
        }
        let scheduled: Vec<_> = fires.iter().map(scheduled).collect();
        let fired = self.commit(fires).await?;
        let committed_at = self.world.clock.now();
        let mut done = 0;
        for (fired, at) in fired.iter().zip(scheduled) {
            if matches!(fired, Fired::Done(_)) {
                done += 1;
                if let Some(at) = at {
                    meter::scheduled(committed_at.micros_since(at));
                }
            }
        }
        Ok(done)
    }

    /// Of each rule that asks for it, the jobs of the previous instance that have not ended.
    async fn running(&self, rules: &[Rule]) -> StoreResult<Vec<Vec<JobId>>> {
        let asks = |rule: &&Rule| {
            rule.document.for_each_tenant.is_none()
                && cron(rule).is_some_and(|cron| cron.overlap != Overlap::Allow)
        };
        let of: Vec<_> = rules.iter().filter(asks).map(|rule| (rule.id, rule.tenant)).collect();
        let mut unfinished =
            if of.is_empty() { Vec::new() } else { self.world.stores.rules.unfinished(&of).await? }
                .into_iter();
        let answer =
            |rule: &Rule| if asks(&rule) { unfinished.next().unwrap_or_default() } else { Vec::new() };
        Ok(rules.iter().map(answer).collect())
    }

    /// What is to be done about a rule's occurrences up to now.
    async fn occurrences(
        &self,
        rule: &Rule,
        tenant: &Tenant,
        running: &[JobId],
        now: Timestamp,
    ) -> StoreResult<Option<Fire>> {
        let (Some(cron), Some(before)) = (cron(rule), rule.next_at) else { return Ok(None) };
        let claim = |after, queued| FireClaim::Occurrence {
            tenant: rule.tenant,
            rule: rule.id,
            revision: rule.revision,
            before,
            after,
            queued,
        };
        let ready = self.ready(rule);
        let schedule = match &ready.schedule {
            Some(Ok(schedule)) => schedule,
            Some(Err(why)) => {
                let occasion = self.at(rule, before, now);
                let why = (FiringOutcome::Error, reason::SCHEDULE_ERROR, Some(why.clone()));
                let firings = vec![self.plain(rule, rule.tenant, &occasion, why)];
                return Ok(Some(Fire { claim: claim(None, Queued::Keep), firings, fan_outs: Vec::new() }));
            }
            None => return Ok(None),
        };
        let due = misfire::decide(schedule, &cron.misfire, before, now);
        let mut fire = Fire { claim: FireClaim::Free, firings: Vec::new(), fan_outs: Vec::new() };
        if let Some(missed) = &due.missed {
            fire.firings.push(self.missed(rule, missed, now));
        }
        let queued = self.admit(rule, tenant, cron, &due.fire, running, now, &mut fire).await?;
        fire.claim = claim(due.next.map(|next| next.at), queued);
        Ok(Some(fire))
    }

    /// Lets occurrences through, or says why not. Answers what waits afterwards.
    async fn admit(
        &self,
        rule: &Rule,
        tenant: &Tenant,
        cron: &CronTrigger,
        due: &[Occurrence],
        running: &[JobId],
        now: Timestamp,
        fire: &mut Fire,
    ) -> StoreResult<Queued> {
        let (mut runs, mut waits) = (!running.is_empty(), rule.queued_at.is_some());
        let mut queued = Queued::Keep;
        for (index, occurrence) in due.iter().enumerate() {
            let occasion = self.at(rule, occurrence.at, now);
            if rule.document.for_each_tenant.is_some() {
                fire.fan_outs.push(self.fan_out_of(rule, &occasion));
                continue;
            }
            let skip = |why| (FiringOutcome::Skipped, why, None);
            let last = index + 1 == due.len();
            let refusal = match overlap::decide(cron.overlap, runs, waits) {
                Admission::Replace if !last => skip(reason::REPLACED),
                Admission::Fire | Admission::Replace => {
                    if !running.is_empty() && cron.overlap == Overlap::Replace {
                        self.cancel_jobs(rule.tenant, running, rule).await?;
                    }
                    let new = self.judge(rule, tenant, &occasion).await;
                    runs |= new.firing.outcome == FiringOutcome::Fired && cron.overlap != Overlap::Replace;
                    fire.firings.push(new);
                    continue;
                }
                Admission::Skip if waits => skip(reason::ALREADY_QUEUED),
                Admission::Skip => skip(reason::PREVIOUS_RUNNING),
                Admission::Queue => {
                    (waits, queued) = (true, Queued::Put(occurrence.at));
                    (FiringOutcome::Blocked, reason::PREVIOUS_RUNNING, None)
                }
            };
            fire.firings.push(self.plain(rule, rule.tenant, &occasion, refusal));
        }
        Ok(queued)
    }

    /// An occurrence as rules see it.
    pub(super) fn at(&self, rule: &Rule, at: Timestamp, now: Timestamp) -> Occasion {
        Occasion {
            kind: TriggerKind::Cron,
            cause: Cause { scheduled_at: Some(at), ..Cause::default() },
            key: Some(Firing::occurrence_key(at)),
            trigger: json!({ "type": "cron", "scheduled_at": at.to_string(), "rule": rule.document.name }),
            event: None,
            job: None,
            depth: 0,
            correlation: CorrelationId(self.world.ids.job(now).0),
            traceparent: None,
            now,
        }
    }

    /// The record of occurrences that are given up.
    fn missed(&self, rule: &Rule, missed: &Missed, now: Timestamp) -> crate::ports::NewFiring {
        let mut occasion = self.at(rule, missed.first, now);
        occasion.key = Some(format!("missed:{}", missed.first.micros()));
        let at_least = if missed.count >= misfire::COUNTED { "at least " } else { "" };
        let detail = format!(
            "{at_least}{} occurrences from {} to {} were missed",
            missed.count, missed.first, missed.last
        );
        self.plain(rule, rule.tenant, &occasion, (FiringOutcome::Skipped, reason::MISFIRE, Some(detail)))
    }

    /// Fires occurrences whose previous instance has ended. Answers when to look again.
    async fn release(&self, now: Timestamp) -> StoreResult<Option<Timestamp>> {
        let again = self.look_again.load(Ordering::Relaxed);
        if now.micros() < again {
            return Ok(Some(Timestamp::from_micros(again)));
        }
        let began = self.world.clock.now();
        let waiting = self.world.stores.rules.waiting(WAITING).await?;
        if !waiting.any {
            return Ok(None);
        }
        let took_us = self.world.clock.now().micros_since(began).max(0);
        self.look_again.store(now.micros() + LOOK_SHARE * took_us, Ordering::Relaxed);
        let mut of: Vec<_> =
            waiting.ready.iter().map(|waits| waits.of.unwrap_or(waits.rule.tenant)).collect();
        of.sort_unstable();
        of.dedup();
        let tenants = self.world.stores.tenants.get_many(&of).await?;
        let mut fires = Vec::new();
        for Waits { rule, of, at } in &waiting.ready {
            let whose = of.unwrap_or(rule.tenant);
            let Some(tenant) = tenants.iter().find(|tenant| tenant.id == whose) else { continue };
            let mut occasion = self.at(rule, *at, now);
            occasion.key = Some(format!("queued:{}", at.micros()));
            let claim = FireClaim::Waiting { tenant: rule.tenant, rule: rule.id, of: *of, at: *at };
            let firings = vec![self.judge(rule, tenant, &occasion).await];
            fires.push(Fire { claim, firings, fan_outs: Vec::new() });
        }
        self.commit(fires).await?;
        Ok(Some(now.plus_millis(LOOK_AGAIN_MS.max(LOOK_SHARE * took_us / 1_000))))
    }
}

/// The rule's clock.
pub(super) fn cron(rule: &Rule) -> Option<&CronTrigger> {
    match &rule.document.trigger {
        Trigger::Cron(cron) => Some(cron),
        _ => None,
    }
}

/// The latest occurrence of what is committed.
fn scheduled(fire: &Fire) -> Option<Timestamp> {
    let firings = fire.firings.iter().filter_map(|new| new.firing.cause.scheduled_at);
    firings.chain(fire.fan_outs.iter().filter_map(|fan_out| fan_out.cause.scheduled_at)).max()
}

//! The causal tree of a job: delivery, rule, firing, jobs, attempts, further jobs.

use std::collections::{BTreeMap, BTreeSet};

use taskflow_domain::{
    Attempt, CorrelationId, EventId, Firing, FiringId, InboundEvent, Job, JobId, Rule, RuleId, TenantId,
};

use super::{Automation, AutomationError};
use crate::caller::Caller;
use crate::jobs::{weigh_attempt, weigh_job};
use crate::ports::{JobFilter, Page};

/// The most jobs, and the most firings, of one tree.
const MOST: u32 = 500;
/// The most attempts of one job.
const ATTEMPTS: u32 = 100;
/// Jobs that are read at once, so that their payloads are counted as they come.
const STEP: u32 = 25;
/// How deep a tree goes. Whoever makes, writes out or drops one takes a piece of
/// the stack for each level, and how long a chain of jobs gets is up to a tenant.
const DEPTH: u32 = 32;
/// Payloads, results and texts of one tree, in bytes.
const BYTES: usize = 8 * 1024 * 1024;

/// What caused what.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What ties it together.
    pub correlation_id: CorrelationId,
    /// What nothing here caused, oldest first.
    pub roots: Vec<TraceNode>,
    /// Whether there is more than a tree shows.
    pub truncated: bool,
}

/// One node with what it caused.
#[derive(Clone, Debug)]
pub struct TraceNode {
    /// What it is.
    pub what: Traced,
    /// What it caused.
    pub children: Vec<TraceNode>,
}

/// What stands in a tree.
#[derive(Clone, Debug)]
pub enum Traced {
    /// A delivery or an event.
    Event(Box<InboundEvent>),
    /// A firing, with the name of its rule unless it is gone.
    Firing(Box<Firing>, Option<String>),
    /// A job with its attempts.
    Job(Box<Job>, Vec<Attempt>),
}

#[derive(Default)]
struct Facts {
    firings: BTreeMap<FiringId, Firing>,
    jobs: BTreeMap<JobId, (Job, Vec<Attempt>)>,
    events: BTreeMap<EventId, InboundEvent>,
    names: BTreeMap<RuleId, String>,
}

impl Automation {
    /// The tree that a job belongs to.
    pub async fn trace(&self, caller: &Caller, id: JobId) -> Result<Trace, AutomationError> {
        let tenant = self.tenant(caller).await?;
        let now = self.world.clock.now();
        let job = self.world.stores.reader.get(tenant, id, now).await?.ok_or(AutomationError::NotFound)?;
        self.tree(tenant, job.spec.correlation_id).await
    }

    /// The tree of a cause.
    async fn tree(&self, tenant: TenantId, cause: CorrelationId) -> Result<Trace, AutomationError> {
        let stores = &self.world.stores;
        let (jobs, mut room, mut truncated) = self.jobs_of(tenant, cause).await?;
        let firings = stores.rules.firings_by_cause(tenant, cause, MOST).await?;
        let events = stores.events.by_cause(tenant, cause, MOST).await?;
        truncated |= firings.len() >= MOST as usize || events.len() >= MOST as usize;
        let mut facts = Facts::default();
        facts.firings.extend(firings.into_iter().map(|firing| (firing.id, firing)));
        for event in events {
            truncated |= !room.take(event.data.as_str().len() + event.headers.as_str().len());
            if room.is_full() {
                break;
            }
            facts.events.insert(event.id, event);
        }
        for job in jobs {
            let mut attempts = Vec::new();
            if !room.is_full() {
                let found = stores.reader.attempts(tenant, job.spec.id, 0, ATTEMPTS).await?;
                attempts = found.unwrap_or_default();
                let fits = attempts.iter().take_while(|attempt| room.take(weigh_attempt(attempt))).count();
                truncated |= fits < attempts.len();
                attempts.truncate(fits);
            }
            facts.jobs.insert(job.spec.id, (job, attempts));
        }
        let rules: BTreeSet<_> =
            facts.firings.values().map(|firing| (firing.rule_tenant, firing.rule)).collect();
        for (of, rule) in rules.into_iter().filter(|(of, _)| *of == tenant) {
            let rule: Option<Rule> = stores.rules.get(of, rule).await?;
            facts.names.extend(rule.map(|rule| (rule.id, rule.document.name)));
        }
        truncated |= room.is_full();
        let (roots, cut) = facts.roots();
        Ok(Trace { correlation_id: cause, roots, truncated: truncated || cut })
    }

    /// The jobs of a cause, the newest first, as far as there is room for them;
    /// what room is left, and whether there are more.
    async fn jobs_of(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
    ) -> Result<(Vec<Job>, Room, bool), AutomationError> {
        let (stores, now) = (&self.world.stores, self.world.clock.now());
        let filter = JobFilter { correlation_id: Some(cause), ..JobFilter::default() };
        let (mut jobs, mut room) = (Vec::<Job>::new(), Room(BYTES));
        // A job without a cause bears its own id, and is not found by it. It is
        // the root of what it caused, so it comes first.
        let own = JobId(cause.0);
        if let Some(job) = stores.reader.get(tenant, own, now).await? {
            room.take(weigh_job(&job));
            jobs.push(job);
        }
        let mut before = None;
        while jobs.len() < MOST as usize && !room.is_full() {
            let page = stores.reader.list(tenant, &filter, Page { before, limit: STEP }, now).await?;
            let last = page.len() < STEP as usize;
            before = page.last().map(|job| job.spec.id);
            for job in page.into_iter().filter(|job| job.spec.id != own) {
                if room.take(weigh_job(&job)) {
                    jobs.push(job);
                }
            }
            if last {
                let cut = room.is_full();
                return Ok((jobs, room, cut));
            }
        }
        Ok((jobs, room, true))
    }
}

/// Bytes that a tree may still hold. When something does not fit, it is full.
struct Room(usize);

impl Room {
    fn take(&mut self, bytes: usize) -> bool {
        match self.0.checked_sub(bytes) {
            Some(left) => self.0 = left,
            None => self.0 = 0,
        }
        !self.is_full()
    }

    const fn is_full(&self) -> bool {
        self.0 == 0
    }
}

/// What names a node: events, firings and jobs may not share an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Event(EventId),
    Firing(FiringId),
    Job(JobId),
}

impl Facts {
    /// The tree, and whether branches were cut off.
    fn roots(self) -> (Vec<TraceNode>, bool) {
        let mut children: BTreeMap<Option<Name>, Vec<Name>> = BTreeMap::new();
        for id in self.events.keys() {
            children.entry(None).or_default().push(Name::Event(*id));
        }
        for (id, firing) in &self.firings {
            let event = firing.cause.event.filter(|id| self.events.contains_key(id)).map(Name::Event);
            let job = firing.cause.job.filter(|id| self.jobs.contains_key(id)).map(Name::Job);
            children.entry(event.or(job)).or_default().push(Name::Firing(*id));
        }
        for (id, (job, _)) in &self.jobs {
            let firing = job.spec.firing_id.filter(|id| self.firings.contains_key(id)).map(Name::Firing);
            let parent = job.spec.parent_job_id.filter(|id| self.jobs.contains_key(id)).map(Name::Job);
            children.entry(firing.or(parent)).or_default().push(Name::Job(*id));
        }
        let mut cut = false;
        let roots = self.nodes(None, &children, DEPTH, &mut cut);
        (roots, cut)
    }

    /// The nodes under `of`, `depth` levels of them. Below that they are `cut`.
    fn nodes(
        &self,
        of: Option<Name>,
        children: &BTreeMap<Option<Name>, Vec<Name>>,
        depth: u32,
        cut: &mut bool,
    ) -> Vec<TraceNode> {
        let names = children.get(&of).map(Vec::as_slice).unwrap_or_default();
        let Some(below) = depth.checked_sub(1) else {
            *cut |= !names.is_empty();
            return Vec::new();
        };
        let mut nodes = Vec::with_capacity(names.len());
        for name in names {
            if let Some(what) = self.node(*name) {
                nodes.push(TraceNode { what, children: self.nodes(Some(*name), children, below, cut) });
            }
        }
        nodes
    }

    fn node(&self, name: Name) -> Option<Traced> {
        Some(match name {
            Name::Event(id) => Traced::Event(Box::new(self.events.get(&id)?.clone())),
            Name::Firing(id) => {
                let firing = self.firings.get(&id)?;
                Traced::Firing(Box::new(firing.clone()), self.names.get(&firing.rule).cloned())
            }
            Name::Job(id) => {
                let (job, attempts) = self.jobs.get(&id)?;
                Traced::Job(Box::new(job.clone()), attempts.clone())
            }
        })
    }
}

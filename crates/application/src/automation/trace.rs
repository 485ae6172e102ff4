//! The causal tree of a job: delivery, rule, firing, jobs, attempts, further jobs.

use std::collections::{BTreeMap, BTreeSet};

use taskflow_domain::{
    Attempt, CorrelationId, EventId, Firing, FiringId, InboundEvent, Job, JobId, Rule, RuleId, TenantId,
};

use super::{Automation, AutomationError};
use crate::caller::Caller;
use crate::ports::{JobFilter, Page};

/// The most jobs, and the most firings, of one tree.
const MOST: u32 = 500;
/// The most attempts of one job.
const ATTEMPTS: u32 = 100;

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
        let (stores, now) = (&self.world.stores, self.world.clock.now());
        let filter = JobFilter { correlation_id: Some(cause), ..JobFilter::default() };
        let page = Page { before: None, limit: MOST };
        let mut jobs = stores.reader.list(tenant, &filter, page, now).await?;
        // A job without a cause bears its own id, and is not found by it.
        let own = JobId(cause.0);
        if !jobs.iter().any(|job| job.spec.id == own) {
            jobs.extend(stores.reader.get(tenant, own, now).await?);
        }
        let firings = stores.rules.firings_by_cause(tenant, cause, MOST).await?;
        let events = stores.events.by_cause(tenant, cause, MOST).await?;
        let truncated = jobs.len() >= MOST as usize || firings.len() >= MOST as usize;
        let mut facts = Facts {
            firings: firings.into_iter().map(|firing| (firing.id, firing)).collect(),
            jobs: BTreeMap::new(),
            events: events.into_iter().map(|event| (event.id, event)).collect(),
            names: BTreeMap::new(),
        };
        for job in jobs {
            let attempts = stores.reader.attempts(tenant, job.spec.id, 0, ATTEMPTS).await?;
            facts.jobs.insert(job.spec.id, (job, attempts.unwrap_or_default()));
        }
        let rules: BTreeSet<_> =
            facts.firings.values().map(|firing| (firing.rule_tenant, firing.rule)).collect();
        for (of, rule) in rules.into_iter().filter(|(of, _)| *of == tenant) {
            let rule: Option<Rule> = stores.rules.get(of, rule).await?;
            facts.names.extend(rule.map(|rule| (rule.id, rule.document.name)));
        }
        Ok(Trace { correlation_id: cause, roots: facts.roots(), truncated })
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
    fn roots(self) -> Vec<TraceNode> {
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
        self.nodes(None, &children)
    }

    fn nodes(&self, of: Option<Name>, children: &BTreeMap<Option<Name>, Vec<Name>>) -> Vec<TraceNode> {
        let names = children.get(&of).into_iter().flatten();
        names
            .filter_map(|name| {
                let what = match name {
                    Name::Event(id) => Traced::Event(Box::new(self.events.get(id)?.clone())),
                    Name::Firing(id) => {
                        let firing = self.firings.get(id)?;
                        Traced::Firing(Box::new(firing.clone()), self.names.get(&firing.rule).cloned())
                    }
                    Name::Job(id) => {
                        let (job, attempts) = self.jobs.get(id)?;
                        Traced::Job(Box::new(job.clone()), attempts.clone())
                    }
                };
                Some(TraceNode { what, children: self.nodes(Some(*name), children) })
            })
            .collect()
    }
}

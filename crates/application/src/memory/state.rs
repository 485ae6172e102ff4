//! What the memory holds, and the two places where a job's standing changes.

use std::collections::{BTreeMap, BTreeSet};

use taskflow_domain::event::{History, NumberedAttempt};
use taskflow_domain::queue::Queue;
use taskflow_domain::tenant::Tenant;
use taskflow_domain::{
    Attempt, CancelRequest, Counters, EventId, FanOutId, Firing, FiringId, FiringOutcome, InboundEvent, Job,
    JobEvent, JobId, JobSpec, JobState, KeyId, Kind, Lease, LeaseToken, Progress, QueueName, RuleId,
    Standing, TenantId, TenantSlug, Timestamp, WorkerName,
};

use super::fire::FanOutRow;
use super::queues::QueueRow;
use super::rules::RuleRow;
use super::tenants::Closed;
use crate::ports::{AuditEntry, KnownKey, Pending, Worker};

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tenants: BTreeMap<TenantId, Tenant>,
    pub(super) slugs: BTreeMap<TenantSlug, TenantId>,
    /// Since when tenants are held, and their limits are as they are.
    pub(super) closed: BTreeMap<TenantId, Closed>,
    pub(super) queues: BTreeMap<QueueName, QueueRow>,
    pub(super) jobs: BTreeMap<(TenantId, JobId), JobRow>,
    pub(super) running: BTreeSet<(TenantId, JobId)>,
    pub(super) lanes: BTreeMap<LaneKey, LaneRow>,
    pub(super) keys: BTreeMap<(TenantId, String), KeyRow>,
    pub(super) costs: BTreeMap<(TenantId, Kind), i64>,
    pub(super) workers: BTreeMap<WorkerKey, Worker>,
    pub(super) api_keys: BTreeMap<KeyId, KnownKey>,
    pub(super) audit: Vec<AuditEntry>,
    /// Where the next claim over several queues begins.
    pub(super) turn: usize,
    pub(super) rules: BTreeMap<RuleId, RuleRow>,
    /// Rules that were deleted.
    pub(super) gone_rules: BTreeSet<RuleId>,
    pub(super) firings: BTreeMap<FiringId, Firing>,
    /// How often a rule came to what, and why; an empty text is no reason.
    pub(super) firing_counts: BTreeMap<(RuleId, FiringOutcome, String), u64>,
    pub(super) fan_outs: BTreeMap<FanOutId, FanOutRow>,
    /// Occurrences of rules that act for many, by rule and tenant.
    pub(super) rule_waits: BTreeMap<(RuleId, TenantId), Timestamp>,
    pub(super) events: BTreeMap<EventId, InboundEvent>,
    /// What is to be dispatched, and until when it is kept from others.
    pub(super) outbox: BTreeMap<i64, (Pending, Timestamp)>,
    /// The number of the last entry of the outbox.
    pub(super) happenings: i64,
    pub(super) told: super::stats::Told,
}

impl Default for State {
    fn default() -> Self {
        let mut state = Self {
            tenants: BTreeMap::new(),
            slugs: BTreeMap::new(),
            closed: BTreeMap::new(),
            queues: BTreeMap::new(),
            jobs: BTreeMap::new(),
            running: BTreeSet::new(),
            lanes: BTreeMap::new(),
            keys: BTreeMap::new(),
            costs: BTreeMap::new(),
            workers: BTreeMap::new(),
            api_keys: BTreeMap::new(),
            audit: Vec::new(),
            turn: 0,
            rules: BTreeMap::new(),
            gone_rules: BTreeSet::new(),
            firings: BTreeMap::new(),
            firing_counts: BTreeMap::new(),
            fan_outs: BTreeMap::new(),
            rule_waits: BTreeMap::new(),
            events: BTreeMap::new(),
            outbox: BTreeMap::new(),
            happenings: 0,
            told: super::stats::Told::default(),
        };
        state.ensure_tenant(&TenantSlug::fallback(), Timestamp::from_micros(0));
        state
    }
}

/// A used idempotency key.
#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub(super) job: JobId,
    pub(super) fingerprint: [u8; 32],
    pub(super) used_at: Timestamp,
}

/// One tenant's jobs of one route in one queue. The order of the fields makes
/// all lanes that a claim may choose from neighbours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneKey {
    pub(super) queue: QueueName,
    /// `None`: the engine's own jobs; else the kind that is pulled.
    pub(super) route: Option<Kind>,
    pub(super) tenant: TenantId,
}

/// What fair sharing knows of a lane, and its due jobs by their order.
#[derive(Clone, Debug)]
pub(super) struct LaneRow {
    pub(super) virtual_us: i64,
    pub(super) cost_us: i64,
    pub(super) due: BTreeSet<(i64, JobId)>,
}

/// A job with all that belongs to it.
#[derive(Clone, Debug)]
pub(super) struct JobRow {
    pub(super) spec: JobSpec,
    pub(super) place: Place,
    pub(super) since: Timestamp,
    pub(super) counters: Counters,
    pub(super) seq: u32,
    pub(super) attempts: Vec<NumberedAttempt>,
    pub(super) recorded: Vec<JobEvent>,
    pub(super) progress: Option<(Progress, Timestamp)>,
}

/// Where a job stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Not running.
    At(Standing),
    /// Running.
    Running(Running),
}

/// Which worker: names are each tenant's own.
pub(super) type WorkerKey = (WorkerName, Option<TenantId>);

/// An attempt without an end.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) worker: WorkerName,
    /// The tenant that the worker serves; `None` for one of the engine's own.
    pub(super) serves: Option<TenantId>,
    pub(super) token: LeaseToken,
    pub(super) started_at: Timestamp,
    pub(super) started_seq: u32,
    /// `None`: as long as the worker's own lease.
    pub(super) lease_until: Option<Timestamp>,
    pub(super) due: Timestamp,
    pub(super) charged_us: i64,
    pub(super) cancel: Option<CancelRequest>,
}

impl JobRow {
    pub(super) fn lane(&self) -> LaneKey {
        let route = self.spec.target.is_none().then(|| self.spec.kind.clone());
        LaneKey { queue: self.spec.queue.clone(), route, tenant: self.spec.tenant }
    }

    /// Where it is kept: a due job that was not promoted is SCHEDULED here.
    pub(super) fn kept_state(&self) -> JobState {
        match &self.place {
            Place::At(standing) => standing.state(),
            Place::Running(_) => JobState::Running,
        }
    }

    pub(super) fn running(&self) -> Option<&Running> {
        match &self.place {
            Place::Running(running) => Some(running),
            Place::At(_) => None,
        }
    }

    /// Where it stands, as it is shown at `now`.
    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        match &self.place {
            Place::At(Standing::Scheduled { due, .. }) if *due <= now => Standing::Pending { due: *due },
            Place::At(standing) => standing.clone(),
            Place::Running(running) => Standing::Running {
                worker: running.worker.clone(),
                token: running.token,
                started_at: running.started_at,
                cancel: running.cancel.clone(),
            },
        }
    }

    /// All its attempts, the running one last.
    pub(super) fn all_attempts(&self) -> Vec<NumberedAttempt> {
        let mut attempts = self.attempts.clone();
        attempts.extend(self.running().map(|running| NumberedAttempt {
            attempt: Attempt {
                number: self.counters.attempt,
                worker: running.worker.clone(),
                token: running.token,
                started_at: running.started_at,
                end: None,
            },
            started_seq: running.started_seq,
            ended_seq: None,
        }));
        attempts
    }

    pub(super) fn history(&self) -> Vec<JobEvent> {
        let history = History {
            created_at: self.spec.created_at,
            created_by: self.spec.created_by.clone(),
            attempts: self.all_attempts(),
            recorded: self.recorded.clone(),
        };
        history.events()
    }

    /// The claim of its worker, if it runs.
    pub(super) fn lease(&self) -> Option<Lease> {
        let running = self.running()?;
        Some(Lease {
            tenant: self.spec.tenant,
            job: self.spec.id,
            queue: self.spec.queue.clone(),
            kind: self.spec.kind.clone(),
            token: running.token,
            worker: running.worker.clone(),
            counters: self.counters,
            retry_policy: self.spec.retry_policy,
            due: running.due,
            started_at: running.started_at,
            charged_us: running.charged_us,
            cancel: running.cancel.clone(),
            timeout_ms: self.spec.timeout_ms,
            until: running.lease_until,
        })
    }

    /// As it is shown at `now`.
    pub(super) fn show(&self, slug: &TenantSlug, now: Timestamp) -> Job {
        let told_at = self.progress.as_ref().map_or(self.since, |(_, at)| *at);
        let last_end = self.attempts.last().and_then(|numbered| numbered.attempt.end.as_ref());
        let noted_at = self.recorded.last().map_or(self.since, |event| event.at);
        Job {
            spec: self.spec.clone(),
            slug: slug.clone(),
            standing: self.standing(now),
            counters: self.counters,
            seq: self.seq,
            last_attempt: self.all_attempts().pop().map(|numbered| numbered.attempt),
            progress: self.progress.as_ref().map(|(progress, _)| progress.clone()).unwrap_or_default(),
            last_error: last_end.and_then(|end| end.error.clone()),
            updated_at: self.since.max(told_at).max(noted_at),
        }
    }
}

impl State {
    /// The tenant of that slug, made with default settings if need be.
    pub(super) fn ensure_tenant(&mut self, slug: &TenantSlug, now: Timestamp) -> &mut Tenant {
        let next = TenantId(self.slugs.len() as i32 + 1);
        let id = *self.slugs.entry(slug.clone()).or_insert(next);
        self.tenants.entry(id).or_insert_with(|| Tenant {
            id,
            slug: slug.clone(),
            settings: taskflow_domain::tenant::TenantSettings::default(),
            created_at: now,
            updated_at: now,
        })
    }

    pub(super) fn queue(&self, name: &QueueName) -> Option<Queue> {
        let row = self.queues.get(name)?;
        Some(Queue { name: name.clone(), settings: row.settings.clone() })
    }

    /// Running jobs that `counts`.
    pub(super) fn count_running(&self, counts: impl Fn(&JobSpec) -> bool) -> u32 {
        let specs = self.running.iter().filter_map(|key| self.jobs.get(key)).map(|job| &job.spec);
        u32::try_from(specs.filter(|spec| counts(spec)).count()).unwrap_or(u32::MAX)
    }

    /// Enters a job where its place says. The other half is [`Self::lift`].
    pub(super) fn enter(&mut self, key: (TenantId, JobId), job: JobRow) {
        match &job.place {
            Place::Running(_) => {
                self.running.insert(key);
            }
            Place::At(Standing::Pending { due }) => {
                let order = (job.spec.priority.order_key(*due), job.spec.id);
                self.activate(job.lane()).due.insert(order);
            }
            Place::At(_) => {}
        }
        self.jobs.insert(key, job);
    }

    /// Takes a job out from where its place says.
    pub(super) fn lift(&mut self, key: (TenantId, JobId)) -> Option<JobRow> {
        let job = self.jobs.remove(&key)?;
        match &job.place {
            Place::Running(_) => {
                self.running.remove(&key);
            }
            Place::At(Standing::Pending { due }) => {
                let order = (job.spec.priority.order_key(*due), job.spec.id);
                if let Some(lane) = self.lanes.get_mut(&job.lane()) {
                    lane.due.remove(&order);
                }
            }
            Place::At(_) => {}
        }
        Some(job)
    }

    /// The lane of that key. If it was idle, it begins at the least virtual time
    /// of the lanes that it now competes with.
    fn activate(&mut self, key: LaneKey) -> &mut LaneRow {
        let idle = self.lanes.get(&key).is_none_or(|lane| lane.due.is_empty());
        let least = if idle { self.least_virtual_us(&key) } else { None };
        let lane = self.lanes.entry(key).or_insert_with(|| LaneRow {
            virtual_us: 0,
            cost_us: taskflow_domain::fair::UNKNOWN_COST_US,
            due: BTreeSet::new(),
        });
        lane.virtual_us = lane.virtual_us.max(least.unwrap_or(i64::MIN));
        lane
    }

    fn least_virtual_us(&self, key: &LaneKey) -> Option<i64> {
        let rivals = self.lanes.iter().filter(|(rival, lane)| {
            rival.queue == key.queue
                && rival.route == key.route
                && rival.tenant != key.tenant
                && !lane.due.is_empty()
                && self.room(rival) > 0
        });
        rivals.map(|(_, lane)| lane.virtual_us).min()
    }

    /// Changes settings. Lanes that this lets go begin at the least virtual time of
    /// those that competed meanwhile: what they missed is not made up.
    pub(super) fn resettle<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> T {
        let due = |(_, lane): &(&LaneKey, &LaneRow)| !lane.due.is_empty();
        let mut held = Vec::new();
        let mut least: BTreeMap<(QueueName, Option<Kind>), i64> = BTreeMap::new();
        for (key, lane) in self.lanes.iter().filter(due) {
            if self.room(key) == 0 {
                held.push(key.clone());
            } else {
                let least = least.entry((key.queue.clone(), key.route.clone())).or_insert(lane.virtual_us);
                *least = lane.virtual_us.min(*least);
            }
        }
        let answer = change(self);
        held.retain(|key| self.room(key) > 0);
        for key in held {
            let least = least.get(&(key.queue.clone(), key.route.clone()));
            if let (Some(lane), Some(least)) = (self.lanes.get_mut(&key), least) {
                lane.virtual_us = lane.virtual_us.max(*least);
            }
        }
        answer
    }

    /// How many more jobs of a lane its tenant's pause and limits allow to run.
    pub(super) fn room(&self, key: &LaneKey) -> u32 {
        if self.tenants.get(&key.tenant).is_some_and(|tenant| tenant.settings.paused) {
            return 0;
        }
        self.limits(key).into_iter().flatten().map(|(_, room)| room).min().unwrap_or(u32::MAX)
    }

    /// The limits that a lane counts against, each with its room: that of the
    /// tenant (`None`), and that of the tenant in the lane's queue.
    pub(super) fn limits(&self, key: &LaneKey) -> [Option<(LimitKey, u32)>; 2] {
        let tenant = self.tenants.get(&key.tenant).and_then(|tenant| tenant.settings.max_running);
        let queue = self.queues.get(&key.queue).and_then(|row| row.settings.max_running_per_tenant);
        let of_tenant = tenant.map(|max| {
            let running = self.count_running(|spec| spec.tenant == key.tenant);
            ((key.tenant, None), max.saturating_sub(running))
        });
        let of_queue = queue.map(|max| {
            let running = self.count_running(|spec| spec.tenant == key.tenant && spec.queue == key.queue);
            ((key.tenant, Some(key.queue.clone())), max.saturating_sub(running))
        });
        [of_tenant, of_queue]
    }
}

/// Whose limit: a tenant's, or a tenant's in one queue.
pub(super) type LimitKey = (TenantId, Option<QueueName>);

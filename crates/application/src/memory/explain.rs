//! The port of explaining, on the state: read off what the claim reads.

use std::collections::BTreeSet;

use async_trait::async_trait;
use taskflow_domain::explain::{
    DueJobs, Facts, LimitFacts, Line, MOST_AHEAD, MOST_HOLDERS, QueueFacts, QueueLine, Serving, TenantFacts,
};
use taskflow_domain::{JobId, JobSpec, Kind, QueueName, Standing, TenantId, Timestamp};

use super::MemoryStore;
use super::state::{JobRow, LaneKey, Place, State};
use crate::ports::{ExplainReader, StoreResult, Worker};

impl State {
    fn facts(&self, key: (TenantId, JobId), now: Timestamp) -> Option<Facts> {
        let job = self.jobs.get(&key)?;
        let tenant = self.tenants.get(&key.0)?;
        let (spec, settings) = (&job.spec, &tenant.settings);
        let queue = self.queue_facts(&spec.queue)?;
        let of_tenant = |other: &JobSpec| other.tenant == spec.tenant;
        let in_queue = |other: &JobSpec| of_tenant(other) && other.queue == spec.queue;
        let limit = |max: u32, set_at, counts: &dyn Fn(&JobSpec) -> bool| {
            let (holders, last_start) = self.holders(counts);
            LimitFacts { max, running: self.count_running(counts), holders, last_start, set_at }
        };
        let closed = self.closed.get(&key.0).copied().unwrap_or_default();
        let per_tenant_at = self.queues.get(&spec.queue)?.per_tenant_at;
        Some(Facts {
            job: job.show(&tenant.slug, now),
            line: self.line_of(job),
            tenant: TenantFacts {
                paused: settings.paused,
                suspended: settings.suspended,
                paused_at: closed.paused_at.unwrap_or(tenant.updated_at),
            },
            tenant_limit: settings.max_running.map(|max| limit(max, closed.max_running_at, &of_tenant)),
            tenant_in_queue: queue
                .settings
                .max_running_per_tenant
                .map(|max| limit(max, per_tenant_at, &in_queue)),
            own_in_queue: self.holders(&in_queue).0,
            serving: self.serving(&job.lane(), now),
            queue,
        })
    }

    fn queue_facts(&self, name: &QueueName) -> Option<QueueFacts> {
        let row = self.queues.get(name)?;
        let running = self.count_running(|spec| spec.queue == *name);
        let last_start = self.holders(&|spec| spec.queue == *name).1;
        Some(QueueFacts {
            settings: row.settings.clone(),
            running,
            last_start,
            max_set_at: row.max_running_at,
            bucket: row.bucket,
        })
    }

    /// Running jobs that count, the latest first, and when the latest began.
    fn holders(&self, counts: &dyn Fn(&JobSpec) -> bool) -> (Vec<JobId>, Option<Timestamp>) {
        let running = self.running.iter().filter_map(|key| self.jobs.get(key));
        let counting = running.filter(|job| counts(&job.spec));
        let mut found: Vec<_> = counting
            .filter_map(|job| Some((std::cmp::Reverse(job.running()?.started_at), job.spec.id)))
            .collect();
        found.sort();
        let last = found.first().map(|(start, _)| start.0);
        (found.into_iter().take(MOST_HOLDERS).map(|(_, job)| job).collect(), last)
    }

    fn line_of(&self, job: &JobRow) -> Option<Line> {
        let Place::At(Standing::Pending { due }) = job.place else { return None };
        let key = job.lane();
        let own = self.lanes.get(&key)?;
        let order = (job.spec.priority.order_key(due), job.spec.id);
        let first = |rival: &&LaneKey| {
            let lane = &self.lanes[*rival];
            rival.queue == key.queue
                && rival.route == key.route
                && (lane.virtual_us, *rival) < (own.virtual_us, &key)
                && !lane.due.is_empty()
                && self.room(rival) > 0
        };
        let bounded = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).min(MOST_AHEAD);
        Some(Line {
            jobs_ahead: bounded(own.due.range(..order).count()),
            lanes_ahead: bounded(self.lanes.keys().filter(first).count()),
        })
    }

    fn serving(&self, key: &LaneKey, now: Timestamp) -> Serving {
        let mut serving = Serving::default();
        for worker in self.workers.values().filter(|worker| would_serve(worker, key)) {
            if worker.lease_until <= now {
                serving.last_lost = serving.last_lost.max(Some(worker.lease_until));
                continue;
            }
            if worker.slots == 0 {
                continue;
            }
            let runs = |job: &&JobRow| job.running().is_some_and(|running| running.is_of(worker));
            let running = || self.running.iter().filter_map(|key| self.jobs.get(key)).filter(runs);
            let busy = running().count();
            let started = running().filter_map(|job| Some(job.running()?.started_at)).max();
            serving.last_start = serving.last_start.max(started);
            serving.workers += 1;
            serving.slots = serving.slots.saturating_add(worker.slots);
            serving.busy = serving.busy.saturating_add(u32::try_from(busy).unwrap_or(u32::MAX));
        }
        serving
    }

    fn queue_line(&self, name: &QueueName, now: Timestamp) -> Option<QueueLine> {
        let mut due = DueJobs::default();
        let own = LaneKey { tenant: TenantId(0), queue: name.clone(), route: None };
        let full = self.serving(&own, now).is_full();
        let mut next = BTreeSet::new();
        for (key, lane) in self.lanes.iter().filter(|(key, _)| key.queue == *name) {
            let sort = match (self.room(key), self.serving(key, now).workers) {
                (0, _) => &mut due.by_tenant,
                (_, 0) => &mut due.unserved,
                _ if key.route.is_none() && full => &mut due.unserved,
                _ => {
                    // One of all that the engine runs, and one of each lane that is pulled.
                    let line = key.route.as_ref().map(|_| key);
                    next.extend((!lane.due.is_empty()).then_some(line));
                    &mut due.in_line
                }
            };
            sort.jobs += lane.due.len() as u64;
        }
        due.next.jobs = next.len() as u64;
        let mut by_state = [0; 9];
        for job in self.jobs.values().filter(|job| job.spec.queue == *name) {
            by_state[job.kept_state() as usize] += 1;
        }
        let queue = self.queue_facts(name)?;
        Some(QueueLine { queue, by_state, due })
    }
}

/// Whether a worker, alive or not, would run the jobs of a lane.
fn would_serve(worker: &Worker, key: &LaneKey) -> bool {
    let of_kind = |kind: &Option<Kind>| match kind {
        None => worker.kinds.is_empty(),
        Some(kind) => worker.kinds.contains(kind),
    };
    of_kind(&key.route)
        && worker.tenant.is_none_or(|tenant| tenant == key.tenant)
        && (worker.queues.is_empty() || worker.queues.contains(&key.queue))
}

#[async_trait]
impl ExplainReader for MemoryStore {
    async fn facts(&self, tenant: TenantId, job: JobId, now: Timestamp) -> StoreResult<Option<Facts>> {
        Ok(self.state().facts((tenant, job), now))
    }

    async fn line(&self, queue: &QueueName, now: Timestamp) -> StoreResult<Option<QueueLine>> {
        Ok(self.state().queue_line(queue, now))
    }
}

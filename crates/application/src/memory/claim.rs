//! Claiming: fair within each queue, in turn over the queues.

use std::collections::BTreeMap;

use taskflow_domain::fair::{self, Lane};
use taskflow_domain::{ClaimedJob, JobId, LeaseToken, QueueName, TenantId, Timestamp};

use super::queues::QueueRow;
use super::state::{LaneKey, Place, Running, State};
use crate::ports::{Claim, ClaimRequest, Route, Worker};

impl State {
    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Claim {
        let mut jobs = Vec::new();
        let mut queues = self.open_queues(request);
        if !queues.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            let start = self.turn % queues.len();
            queues.rotate_left(start);
        }
        // First an equal part for each queue, then what is left for any of them.
        let part = (request.max / (queues.len().max(1) as u32)).max(1);
        for most in [part, u32::MAX] {
            for queue in &queues {
                let left = request.max - jobs.len() as u32;
                jobs.extend(self.claim_from(queue, left.min(most), request));
            }
        }
        if !jobs.is_empty() {
            self.meet(request);
        }
        let more =
            !jobs.is_empty() && jobs.len() as u32 == request.max && !self.open_queues(request).is_empty();
        Claim { jobs, more }
    }

    /// A worker that was never heard of becomes known by what it is given.
    fn meet(&mut self, request: &ClaimRequest) {
        self.workers.entry((request.worker.clone(), request.tenant)).or_insert_with(|| Worker {
            name: request.worker.clone(),
            tenant: request.tenant,
            queues: request.queues.clone(),
            kinds: match &request.route {
                Route::Engine => Vec::new(),
                Route::Kinds(kinds) => kinds.clone(),
            },
            slots: request.max,
            started_at: request.now,
            beat_at: request.now,
            lease_until: request.now,
        });
    }

    /// The queues of which something could start now.
    fn open_queues(&self, request: &ClaimRequest) -> Vec<QueueName> {
        let wanted = |name: &QueueName| request.queues.is_empty() || request.queues.contains(name);
        let open = |name: &QueueName| {
            self.queue_room(name, request.now) > 0 && !self.open_lanes(name, request).is_empty()
        };
        self.queues.keys().filter(|name| wanted(name) && open(name)).cloned().collect()
    }

    /// How many more jobs the queue's own pause, limit and rate allow to start.
    fn queue_room(&self, name: &QueueName, now: Timestamp) -> u32 {
        let Some(QueueRow { settings, bucket, .. }) = self.queues.get(name) else { return 0 };
        if settings.pause.as_ref().is_some_and(|pause| pause.holds(now)) {
            return 0;
        }
        let by_limit = settings
            .max_running
            .map_or(u32::MAX, |max| max.saturating_sub(self.count_running(|spec| spec.queue == *name)));
        let by_rate = settings.rate.map_or(u32::MAX, |rate| bucket.refilled(rate, now).available());
        by_limit.min(by_rate)
    }

    /// The lanes of a queue that the request may be served from, with due jobs,
    /// least virtual time first.
    fn open_lanes(&self, queue: &QueueName, request: &ClaimRequest) -> Vec<LaneKey> {
        let serves = |key: &LaneKey| match (&request.route, &key.route) {
            (Route::Engine, None) => true,
            (Route::Kinds(kinds), Some(kind)) => kinds.contains(kind),
            _ => false,
        };
        let of_tenant = |key: &LaneKey| request.tenant.is_none_or(|tenant| tenant == key.tenant);
        let mut lanes: Vec<_> = self
            .lanes
            .iter()
            .filter(|(key, lane)| {
                key.queue == *queue && !lane.due.is_empty() && serves(key) && of_tenant(key)
            })
            .filter(|(key, _)| self.room(key) > 0)
            .map(|(key, lane)| (lane.virtual_us, key.clone()))
            .collect();
        lanes.sort();
        lanes.into_iter().map(|(_, key)| key).collect()
    }

    /// Claims at most `most` jobs of one queue. Lanes that had fewer jobs than
    /// their share leave room for another round.
    fn claim_from(&mut self, queue: &QueueName, most: u32, request: &ClaimRequest) -> Vec<ClaimedJob> {
        let mut jobs = Vec::new();
        loop {
            let left = (most - jobs.len() as u32).min(self.queue_room(queue, request.now));
            let keys = self.open_lanes(queue, request);
            if left == 0 || keys.is_empty() {
                return jobs;
            }
            let mut takes = self.share(left, &keys);
            if request.tenant.is_some() && keys.len() > 1 {
                takes = fair::in_order(&takes, self.order(&keys));
            }
            let before = jobs.len();
            for (key, take) in keys.into_iter().zip(takes).filter(|(_, take)| *take > 0) {
                jobs.extend(self.claim_lane(&key, take, request));
            }
            self.spend_rate(queue, (jobs.len() - before) as u32, request.now);
            if jobs.len() == before {
                return jobs;
            }
        }
    }

    /// The places of lanes, in the order of all their jobs.
    fn order(&self, keys: &[LaneKey]) -> Vec<usize> {
        let jobs = |(place, key): (usize, &LaneKey)| {
            self.lanes[key].due.iter().map(|job| (*job, place)).collect::<Vec<_>>()
        };
        let mut jobs: Vec<_> = keys.iter().enumerate().flat_map(jobs).collect();
        jobs.sort_unstable();
        jobs.into_iter().map(|(_, place)| place).collect()
    }

    fn share(&self, batch: u32, keys: &[LaneKey]) -> Vec<u32> {
        let mut rooms = Vec::new();
        let mut known = BTreeMap::new();
        let lanes: Vec<_> = keys
            .iter()
            .map(|key| {
                let limits = self.limits(key).map(|limit| {
                    limit.map(|(whose, room)| {
                        *known.entry(whose).or_insert_with(|| {
                            rooms.push(room);
                            rooms.len() - 1
                        })
                    })
                });
                let row = &self.lanes[key];
                let weight = self.weight(key.tenant);
                Lane { virtual_us: row.virtual_us, weight, cost_us: row.cost_us, limits }
            })
            .collect();
        fair::share(batch, &lanes, &mut rooms)
    }

    pub(super) fn weight(&self, tenant: TenantId) -> u32 {
        self.tenants.get(&tenant).map_or(1, |tenant| tenant.settings.weight)
    }

    /// Claims the first `take` jobs of a lane and charges it for them.
    fn claim_lane(&mut self, key: &LaneKey, take: u32, request: &ClaimRequest) -> Vec<ClaimedJob> {
        let due: Vec<JobId> = self.lanes[key].due.iter().take(take as usize).map(|(_, job)| *job).collect();
        let jobs: Vec<_> = due.into_iter().filter_map(|job| self.start((key.tenant, job), request)).collect();
        let cost: i64 = jobs.iter().map(|job| job.lease.charged_us).sum();
        let charge = fair::charge_us(cost, self.weight(key.tenant));
        if let (Some(lane), Some(count)) = (self.lanes.get_mut(key), i64::try_from(jobs.len()).ok())
            && count > 0
        {
            lane.virtual_us = lane.virtual_us.saturating_add(charge);
            lane.cost_us = cost / count;
        }
        jobs
    }

    /// Begins the next attempt of a due job.
    fn start(&mut self, key: (TenantId, JobId), request: &ClaimRequest) -> Option<ClaimedJob> {
        let slug = self.tenants.get(&key.0)?.slug.clone();
        let expires_at = request
            .lease_until
            .or_else(|| {
                self.workers.get(&(request.worker.clone(), request.tenant)).map(|worker| worker.lease_until)
            })
            .unwrap_or(request.now);
        let mut job = self.lift(key)?;
        let due = match &job.place {
            Place::At(taskflow_domain::Standing::Pending { due }) => *due,
            _ => job.spec.run_at,
        };
        let cost = self.costs.get(&(key.0, job.spec.kind.clone())).copied();
        job.counters.attempt = job.counters.attempt.saturating_add(1);
        job.counters.spent = job.counters.spent.saturating_add(1);
        job.seq += 1;
        job.since = request.now.max(due);
        job.place = Place::Running(Running {
            worker: request.worker.clone(),
            serves: request.tenant,
            token: LeaseToken::new(job.counters.attempt, request.nonce),
            started_at: request.now.max(due),
            started_seq: job.seq,
            lease_until: request.lease_until,
            due,
            charged_us: cost.unwrap_or(fair::UNKNOWN_COST_US),
            cancel: None,
        });
        let claimed = job.lease().map(|lease| ClaimedJob { lease, spec: job.spec.clone(), slug, expires_at });
        self.enter(key, job);
        claimed
    }

    fn spend_rate(&mut self, queue: &QueueName, starts: u32, now: Timestamp) {
        if let Some(row) = self.queues.get_mut(queue)
            && let Some(rate) = row.settings.rate
        {
            row.bucket = row.bucket.refilled(rate, now).spent(starts);
        }
    }
}

//! Inserting: first every answer, then, if they allow it, every job.

use std::collections::BTreeMap;

use taskflow_domain::{Counters, JobId, JobState, TenantId};

use super::state::{JobRow, KeyRow, Place, State};
use crate::ports::{Inserted, NewJob, StoreError, StoreResult};

impl State {
    pub(super) fn insert(&mut self, jobs: Vec<NewJob>, atomic: bool) -> StoreResult<Vec<Inserted>> {
        let answers = self.answers(&jobs)?;
        let good = |answer: &Inserted| matches!(answer, Inserted::New | Inserted::Existing(_));
        if atomic && !answers.iter().all(good) {
            return Ok(answers);
        }
        for (job, _) in jobs.into_iter().zip(&answers).filter(|(_, answer)| **answer == Inserted::New) {
            self.insert_one(job);
        }
        Ok(answers)
    }

    fn answers(&self, jobs: &[NewJob]) -> StoreResult<Vec<Inserted>> {
        let mut keys: BTreeMap<(TenantId, &str), (JobId, [u8; 32])> = BTreeMap::new();
        let mut backlogs: BTreeMap<TenantId, u32> = BTreeMap::new();
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let spec = &job.spec;
            let Some(tenant) = self.tenants.get(&spec.tenant) else {
                return Err(StoreError::Rejected(format!("there is no tenant {}", spec.tenant.0)));
            };
            if let Some(key) = &spec.idempotency_key {
                let stored = || {
                    let row = self.keys.get(&(spec.tenant, key.clone()))?;
                    Some((row.job, row.fingerprint))
                };
                if let Some((first, fingerprint)) =
                    keys.get(&(spec.tenant, key.as_str())).copied().or_else(stored)
                {
                    let same = fingerprint == job.fingerprint;
                    answers.push(if same { Inserted::Existing(first) } else { Inserted::KeyReused(first) });
                    continue;
                }
            }
            if let Some(max) = tenant.settings.backlog_limit() {
                let backlog = backlogs.entry(spec.tenant).or_insert_with(|| self.backlog(spec.tenant));
                if *backlog >= max {
                    answers.push(Inserted::BacklogFull(max));
                    continue;
                }
                *backlog += 1;
            }
            if let Some(key) = &spec.idempotency_key {
                keys.insert((spec.tenant, key), (spec.id, job.fingerprint));
            }
            answers.push(Inserted::New);
        }
        Ok(answers)
    }

    /// Jobs of a tenant that neither run nor have ended.
    pub(super) fn backlog(&self, tenant: TenantId) -> u32 {
        let waits = |job: &&JobRow| {
            job.spec.tenant == tenant
                && job.kept_state() != JobState::Running
                && !job.kept_state().is_terminal()
        };
        u32::try_from(self.jobs.values().filter(waits).count()).unwrap_or(u32::MAX)
    }

    fn insert_one(&mut self, job: NewJob) {
        let NewJob { spec, standing, fingerprint } = job;
        let key = (spec.tenant, spec.id);
        if let Some(text) = &spec.idempotency_key {
            let row = KeyRow { job: spec.id, fingerprint, used_at: spec.created_at };
            self.keys.insert((spec.tenant, text.clone()), row);
        }
        self.queues.entry(spec.queue.clone()).or_default();
        let row = JobRow {
            since: spec.created_at,
            spec,
            place: Place::At(standing),
            counters: Counters::default(),
            seq: 1,
            attempts: Vec::new(),
            recorded: Vec::new(),
            progress: None,
        };
        self.enter(key, row);
    }
}

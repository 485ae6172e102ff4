//! Writing jobs, over a link.

use async_trait::async_trait;
use taskflow_application::ports::{
    AuditNote, Claim, ClaimRequest, Committed, Discrepancies, Extended, Inserted, JobStore, LeaseKey, NewJob,
    Promoted, Proof, StoreResult,
};
use taskflow_checker::history::LeaseRow;
use taskflow_domain::{JobChange, JobId, JobState, Lease, LeaseToken, Progress, TenantId, Timestamp};

use super::link::Link;
use super::log::{Log, job_name, token_name};

fn note_claim(log: &mut Log, request: &ClaimRequest, claim: &Claim, at: i64) -> String {
    let mut what = format!("{} {}", request.worker, claim.more);
    for job in &claim.jobs {
        let (name, token) = (job_name(job.lease.job), token_name(job.lease.token));
        what += &[" ", &name, ":", &token].concat();
        log.count("attempts begun");
        log.lease(LeaseRow::Grant {
            at,
            job: name,
            token,
            worker: request.worker.as_str().into(),
            until: request.lease_until.map(Timestamp::micros),
        });
    }
    what
}

fn note_commit(log: &mut Log, changes: &[JobChange], answers: &[Committed], at: i64) -> String {
    let mut what = String::new();
    for (change, answer) in changes.iter().zip(answers) {
        let name = job_name(change.job);
        let kind = change.event.as_ref().map_or("end", |(kind, ..)| kind.as_str());
        let done = if *answer == Committed::Done { "Done" } else { "Refused" };
        what += &[" ", &name, " ", kind, " ", done].concat();
        if let (Committed::Done, Some(attempt)) = (answer, &change.attempt) {
            let outcome = attempt.end.as_ref().map_or("none", |end| end.outcome.as_str());
            what += &[" ", outcome].concat();
            log.lease(LeaseRow::End { at, job: name, token: token_name(attempt.token) });
        }
    }
    what
}

fn note_extended(
    log: &mut Log,
    leases: &[LeaseKey],
    until: Timestamp,
    answers: &[Extended],
    at: i64,
) -> String {
    for ((_, job, token), _) in leases.iter().zip(answers).filter(|(_, it)| **it != Extended::Lost) {
        let (job, token) = (job_name(*job), token_name(*token));
        log.lease(LeaseRow::Extend { at, job, token, until: until.micros() });
    }
    format!("{answers:?}")
}

#[async_trait]
impl JobStore for Link {
    async fn insert(&self, jobs: Vec<NewJob>, atomic: bool) -> StoreResult<Vec<Inserted>> {
        self.pass("insert", self.sim.stores.jobs.insert(jobs, atomic), |_, answers, _| format!("{answers:?}"))
            .await
    }

    async fn claim(&self, request: &ClaimRequest) -> StoreResult<Claim> {
        let note = |log: &mut Log, claim: &Claim, at| note_claim(log, request, claim, at);
        self.pass("claim", self.sim.stores.jobs.claim(request), note).await
    }

    async fn commit(&self, changes: &[JobChange]) -> StoreResult<Vec<Committed>> {
        let note = |log: &mut Log, answers: &Vec<Committed>, at| note_commit(log, changes, answers, at);
        self.pass("commit", self.sim.stores.jobs.commit(changes), note).await
    }

    async fn commit_noted(&self, change: &JobChange, note: AuditNote) -> StoreResult<Committed> {
        let tell = |log: &mut Log, answer: &Committed, at| {
            note_commit(log, std::slice::from_ref(change), std::slice::from_ref(answer), at)
        };
        self.pass("commit", self.sim.stores.jobs.commit_noted(change, note), tell).await
    }

    async fn leases(&self, jobs: &[(TenantId, JobId)]) -> StoreResult<Vec<Option<Lease>>> {
        let note = |_: &mut Log, leases: &Vec<Option<Lease>>, _| leases.iter().flatten().count().to_string();
        self.pass("leases", self.sim.stores.jobs.leases(jobs), note).await
    }

    async fn extend(&self, leases: &[LeaseKey], until: Timestamp) -> StoreResult<Vec<Extended>> {
        let note =
            |log: &mut Log, answers: &Vec<Extended>, at| note_extended(log, leases, until, answers, at);
        self.pass("extend", self.sim.stores.jobs.extend(leases, until), note).await
    }

    async fn progress(
        &self,
        reports: &[(TenantId, JobId, LeaseToken, Progress)],
        at: Timestamp,
    ) -> StoreResult<Vec<bool>> {
        let note = |_: &mut Log, held: &Vec<bool>, _| format!("{held:?}");
        self.pass("progress", self.sim.stores.jobs.progress(reports, at), note).await
    }

    async fn expired(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<Lease>> {
        let note = |_: &mut Log, leases: &Vec<Lease>, _| leases.len().to_string();
        self.pass("expired", self.sim.stores.jobs.expired(now, limit), note).await
    }

    async fn promote(&self, now: Timestamp, limit: u32) -> StoreResult<Promoted> {
        let note = |_: &mut Log, promoted: &Promoted, _| format!("{promoted:?}");
        self.pass("promote", self.sim.stores.jobs.promote(now, limit), note).await
    }

    async fn prune(
        &self,
        state: JobState,
        before: Timestamp,
        keys_before: Timestamp,
        limit: u32,
    ) -> StoreResult<u32> {
        let prune = self.sim.stores.jobs.prune(state, before, keys_before, limit);
        self.pass("prune", prune, |_, count, _| count.to_string()).await
    }

    async fn sweep(&self, now: Timestamp) -> StoreResult<Discrepancies> {
        self.pass("sweep", self.sim.stores.jobs.sweep(now), |_, found, _| format!("{found:?}")).await
    }

    async fn proof(&self, now: Timestamp) -> StoreResult<Proof> {
        self.pass("proof", self.sim.stores.jobs.proof(now), |_, proof, _| format!("{proof:?}")).await
    }
}

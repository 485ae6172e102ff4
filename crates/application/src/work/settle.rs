//! Ending attempts. Whoever ends one, its worker, the reaper or a remote
//! caller, comes through here, and the fencing token decides who was first.

use taskflow_domain::change::{self, Report};
use taskflow_domain::{Decision, JobChange, JobState, Lease, Verdict};

use super::Work;
use crate::meter;
use crate::ports::{Committed, HeldLease, StoreResult, Topic};

/// An attempt that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The lease that it ran under.
    pub lease: Lease,
    /// How it ended.
    pub verdict: Verdict,
    /// Slot time that it took, in microseconds.
    pub took_us: i64,
}

/// What became of the report of an attempt's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was committed; the job is in this state now.
    Done(JobState),
    /// The lease was lost before; nothing was changed.
    LeaseLost,
}

/// Who ends attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Whoever holds the lease.
    Worker,
    /// Whoever found that it had ended.
    Reaper,
}

impl Work {
    /// Commits the ends of attempts; the answers stand in their order.
    ///
    /// A refused report is looked at again: if the lease still stands, a cancel
    /// was requested since the worker last heard, and the decision is another.
    pub async fn settle(&self, ended: &[Ended]) -> StoreResult<Vec<Settled>> {
        self.settle_as(ended, By::Worker).await
    }

    /// The same for leases that were found to have ended a moment ago: whoever
    /// extended its lease since then keeps it. Jobs that are lost again come back
    /// apart from each other.
    pub async fn settle_lapsed(&self, ended: &[Ended]) -> StoreResult<Vec<Settled>> {
        self.settle_as(ended, By::Reaper).await
    }

    async fn settle_as(&self, ended: &[Ended], by: By) -> StoreResult<Vec<Settled>> {
        let places = places(ended);
        let decide = |(end, place): (&Ended, &u32)| self.decide(&end.lease, end, by, *place);
        let changes: Vec<_> = ended.iter().zip(&places).map(decide).collect();
        let committed = self.world.stores.jobs.commit(&changes).await?;
        let mut settled: Vec<_> =
            changes.iter().zip(&committed).map(|(change, done)| answer(change, *done)).collect();
        let refused: Vec<usize> =
            (0..settled.len()).filter(|&at| settled[at] == Settled::LeaseLost).collect();
        let mut final_changes = changes;
        if !refused.is_empty() {
            self.settle_again((ended, &places), by, &refused, &mut settled, &mut final_changes).await?;
        }
        self.tell(ended, &final_changes, &settled);
        Ok(settled)
    }

    /// Hands back leases that nobody works on: the answer of their claim was lost
    /// on the way. One that is no longer held is passed over.
    pub async fn release(&self, held: &[HeldLease]) -> StoreResult<()> {
        let keys: Vec<_> = held.iter().map(|held| (held.tenant, held.job)).collect();
        let leases = self.world.stores.jobs.leases(&keys).await?;
        let still =
            |(held, lease): (&HeldLease, Option<Lease>)| lease.filter(|lease| lease.token == held.token);
        let ended: Vec<_> = held
            .iter()
            .zip(leases)
            .filter_map(still)
            .map(|lease| Ended { lease, verdict: Verdict::Interrupted, took_us: 0 })
            .collect();
        self.settle(&ended).await.map(drop)
    }

    async fn settle_again(
        &self,
        (ended, places): (&[Ended], &[u32]),
        by: By,
        refused: &[usize],
        settled: &mut [Settled],
        changes: &mut [JobChange],
    ) -> StoreResult<()> {
        let keys: Vec<_> = refused.iter().map(|&at| (ended[at].lease.tenant, ended[at].lease.job)).collect();
        let leases = self.world.stores.jobs.leases(&keys).await?;
        let mut retried = Vec::new();
        let mut again = Vec::new();
        for (&at, lease) in refused.iter().zip(leases) {
            // Only a lease that differs by the request to cancel is still ours.
            if let Some(lease) = lease.filter(|lease| lease.token == ended[at].lease.token) {
                retried.push(at);
                again.push(self.decide(&lease, &ended[at], by, places[at]));
            }
        }
        if again.is_empty() {
            return Ok(());
        }
        let committed = self.world.stores.jobs.commit(&again).await?;
        for ((at, change), done) in retried.into_iter().zip(again).zip(committed) {
            settled[at] = answer(&change, done);
            changes[at] = change;
        }
        Ok(())
    }

    fn decide(&self, lease: &Lease, ended: &Ended, by: By, place: u32) -> JobChange {
        let report = Report {
            verdict: ended.verdict.clone(),
            at: self.world.clock.now().max(lease.started_at),
            took_us: ended.took_us,
            random: self.world.jitter.random(),
            place,
        };
        let at = report.at;
        let mut change = change::settle(lease, report);
        if by == By::Reaper {
            change.guard = change.guard.once_lapsed(at);
        }
        change
    }

    fn tell(&self, ended: &[Ended], changes: &[JobChange], settled: &[Settled]) {
        let (mut due, mut later) = (false, false);
        let mut finished = Vec::new();
        for ((end, change), result) in ended.iter().zip(changes).zip(settled) {
            let Settled::Done(state) = *result else {
                metrics::counter!(meter::REPORTS_REFUSED).increment(1);
                continue;
            };
            due |= state == JobState::Pending;
            later |= state == JobState::Scheduled;
            if let Some(end_of) = change.attempt.as_ref().and_then(|attempt| attempt.end.as_ref()) {
                finished.push(meter::Finished {
                    lease: &end.lease,
                    outcome: end_of.outcome,
                    then: state,
                    at: end_of.at,
                    took_us: end.took_us,
                });
                tracing::debug!(
                    job.id = %end.lease.job,
                    queue.name = end.lease.queue.as_str(),
                    tenant.number = end.lease.tenant.0,
                    job.state = state.as_str(),
                    attempt.outcome = end_of.outcome.as_str(),
                    attempt.number = end.lease.counters.attempt,
                    "attempt ended",
                );
            }
        }
        meter::finished(&self.world.tally, &finished);
        if due {
            self.world.wakeups.nudge(Topic::Work);
        }
        if later {
            self.world.wakeups.nudge(Topic::Schedule);
        }
    }
}

/// For each attempt, how many before it lost their worker and had lost one before.
fn places(ended: &[Ended]) -> Vec<u32> {
    let mut lost_again = 0;
    let place = |end: &Ended| {
        let place = lost_again;
        lost_again += u32::from(end.verdict == Verdict::Lost && end.lease.counters.lost > 0);
        place
    };
    ended.iter().map(place).collect()
}

fn answer(change: &JobChange, committed: Committed) -> Settled {
    match (committed, &change.decision) {
        (Committed::Done, Decision::Move(standing)) => Settled::Done(standing.state()),
        (Committed::Done, Decision::RequestCancel(_) | Decision::Keep) => Settled::Done(JobState::Running),
        (Committed::Refused | Committed::BacklogFull(_), _) => Settled::LeaseLost,
    }
}

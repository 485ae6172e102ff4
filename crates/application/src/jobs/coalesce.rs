//! Group commit of concurrent submits.
//!
//! Whoever submits while no insert is under way starts one at once, so one caller
//! pays nothing for the company it does not have. Whoever comes later waits in line,
//! and the whole line goes into the next transaction. Callers that were just answered
//! often come again at once: they are let in before the line is cut, or two halves of
//! them would take turns in twice as many transactions. Only behind a long line is a
//! second transaction begun beside the first. Each caller is answered after the commit
//! of its own job, never before. Where a transaction fails for a reason that only one
//! job may have caused, the jobs of it are inserted one by one, so that a faulty one
//! does not fail its neighbours.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::histogram;
use taskflow_domain::JobState;
use tokio::sync::oneshot;

use crate::World;
use crate::meter;
use crate::ports::{Inserted, NewJob, StoreError, StoreResult, Topic};
use crate::tally::Subject;

/// The most jobs of one transaction.
const MAX_LINE: usize = 1_000;
/// So many transactions are under way at most.
const AT_ONCE: u8 = 2;
/// The line behind which a further one is begun.
const LONG_LINE: usize = 100;
/// How often those who run beside it are let run before a line is cut that grows each time.
const MOST_YIELDS: usize = 32;

struct Entry {
    job: NewJob,
    answer: oneshot::Sender<StoreResult<Inserted>>,
}

#[derive(Default)]
struct Line {
    waiting: Vec<Entry>,
    /// How many inserts are under way.
    inserting: u8,
}

/// The right to work on the line. Should the work panic, those who wait are
/// answered with an error, and the next one who comes begins anew.
struct Turn(Arc<Mutex<Line>>);

impl Drop for Turn {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            line.waiting.clear();
            line.inserting = line.inserting.saturating_sub(1);
        }
    }
}

/// Puts concurrent submits into common transactions.
#[derive(Clone)]
pub(super) struct Coalescer {
    world: World,
    line: Arc<Mutex<Line>>,
}

impl Coalescer {
    pub(super) fn new(world: World) -> Self {
        Self { world, line: Arc::default() }
    }

    /// Inserts one job, together with whatever else is being submitted.
    pub(super) async fn insert(&self, job: NewJob) -> StoreResult<Inserted> {
        let (answer, answered) = oneshot::channel();
        if self.enter(Entry { job, answer }) {
            // A task of its own, so that a caller that goes away does not take
            // the jobs of the others with it.
            tokio::spawn(self.clone().insert_until_idle());
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the process is shutting down".into())))
    }

    /// Joins the line; says whether one more may work on it.
    fn enter(&self, entry: Entry) -> bool {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.waiting.push(entry);
        let more = line.inserting == 0 || (line.inserting < AT_ONCE && line.waiting.len() >= LONG_LINE);
        line.inserting += u8::from(more);
        more
    }

    /// The next transaction's jobs; none ends this work on the line.
    fn next(&self) -> Vec<Entry> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = line.waiting.len().min(MAX_LINE);
        let rest = line.waiting.split_off(cut);
        let batch = mem::replace(&mut line.waiting, rest);
        line.inserting -= u8::from(batch.is_empty());
        batch
    }

    /// Lets those run who were answered, as long as more of them come.
    async fn let_in(&self) {
        let waiting = || self.line.lock().unwrap_or_else(PoisonError::into_inner).waiting.len();
        let mut came = waiting();
        for _ in 0..MOST_YIELDS {
            tokio::task::yield_now().await;
            let now = waiting();
            if now == came || now >= MAX_LINE {
                return;
            }
            came = now;
        }
    }

    async fn insert_until_idle(self) {
        let _turn = Turn(self.line.clone());
        let mut company = false;
        loop {
            if company {
                self.let_in().await;
            }
            let batch = self.next();
            if batch.is_empty() {
                return;
            }
            company = batch.len() > 1;
            histogram!(meter::SUBMIT_BATCH).record(batch.len() as f64);
            let (jobs, answers): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|entry| (entry.job, entry.answer)).unzip();
            let results = self.insert_batch(jobs).await;
            for (answer, result) in answers.into_iter().zip(results) {
                // A caller that went away does not hear that its job was accepted.
                drop(answer.send(result));
            }
        }
    }

    async fn insert_batch(&self, jobs: Vec<NewJob>) -> Vec<StoreResult<Inserted>> {
        let count = jobs.len();
        let spare = if count > 1 { jobs.clone() } else { Vec::new() };
        let told: Vec<_> = jobs.iter().map(|job| (job.standing.state(), Subject::of(&job.spec))).collect();
        let results = match self.world.stores.jobs.insert(jobs, false).await {
            Ok(inserted) => inserted.into_iter().map(Ok).collect(),
            Err(StoreError::Rejected(_)) if count > 1 => self.insert_singly(spare).await,
            Err(error) => vec![Err(error); count],
        };
        self.announce(&told, &results);
        results
    }

    async fn insert_singly(&self, jobs: Vec<NewJob>) -> Vec<StoreResult<Inserted>> {
        let mut results = Vec::with_capacity(jobs.len());
        for job in jobs {
            let inserted = self.world.stores.jobs.insert(vec![job], false).await;
            results.push(inserted.map(|mut one| one.pop().unwrap_or(Inserted::New)));
        }
        results
    }

    fn announce(&self, told: &[(JobState, Subject)], results: &[StoreResult<Inserted>]) {
        let new = || told.iter().zip(results).filter(|(_, result)| **result == Ok(Inserted::New));
        meter::created(&self.world.tally, || new().map(|((_, subject), _)| subject));
        if new().any(|((state, _), _)| *state == JobState::Pending) {
            self.world.wakeups.nudge(Topic::Work);
        }
        if new().any(|((state, _), _)| *state == JobState::Scheduled) {
            self.world.wakeups.nudge(Topic::Schedule);
        }
    }
}

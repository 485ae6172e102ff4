//! Inserting jobs.
//!
//! One statement writes a batch: it claims the idempotency keys, leaves out the
//! jobs whose keys were taken, and writes the rest. Where no tenant has a limit
//! on its backlog and no key was taken, that is all: lanes that sleep are woken with
//! their jobs. After the commit the lanes are looked at once more, because a claim may
//! have put one to sleep at the same time; nobody waits for that.

pub(super) mod backlog;
mod write;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::PgConnection;
use taskflow_application::ports::{Inserted, NewJob, StoreResult};
use taskflow_domain::{JobId, JobState};
use uuid::Uuid;

use super::unit::{End, Unit, detached, transact};
use super::{Inner, rejected};
use crate::store::error::Fault;
use write::write;

/// The most jobs of one statement.
const CHUNK: usize = 10_000;

/// How often keys that vanished under our eyes are tried again.
const KEY_TRIES: u32 = 5;

type Key = (i32, String);

/// Jobs to be inserted, with the ids of their surroundings.
struct Batch {
    jobs: Vec<NewJob>,
    queues: Vec<i32>,
    kinds: Vec<i32>,
    lanes: Vec<i32>,
    /// The jobs that are written.
    written: Vec<usize>,
    /// The jobs whose key an earlier job of the batch has: itself, and that one.
    doubles: Vec<(usize, usize)>,
}

/// Who has a key, and for which request.
struct Owner {
    job: Uuid,
    fingerprint: Vec<u8>,
}

/// Jobs with the ids of their surroundings, which come into being outside of
/// the transaction that writes the jobs.
pub(super) struct Prepared {
    jobs: Vec<NewJob>,
    queues: Vec<i32>,
    kinds: Vec<i32>,
    lanes: Vec<i32>,
}

impl Prepared {
    /// Sees to it that the queues, kinds and lanes of the jobs exist.
    pub(super) async fn new(inner: &Arc<Inner>, jobs: Vec<NewJob>) -> StoreResult<Self> {
        let queue_names: Vec<_> = jobs.iter().map(|job| job.spec.queue.clone()).collect();
        let kind_names: Vec<_> = jobs.iter().map(|job| job.spec.kind.clone()).collect();
        inner.ensure_queues(&queue_names).await?;
        inner.ensure_kinds(&kind_names).await?;
        let lost = || rejected("a queue or kind vanished");
        let catalog = &inner.catalog;
        let queues: Option<Vec<i32>> = queue_names.iter().map(|name| catalog.queues.id(name)).collect();
        let kinds: Option<Vec<i32>> = kind_names.iter().map(|name| catalog.kinds.id(name)).collect();
        let (queues, kinds) = (queues.ok_or_else(lost)?, kinds.ok_or_else(lost)?);
        let keys: Vec<_> = jobs
            .iter()
            .zip(queues.iter().zip(&kinds))
            .map(|(job, (&queue, &kind))| {
                (job.spec.tenant.0, queue, if job.spec.target.is_some() { 0 } else { kind })
            })
            .collect();
        let lanes = inner.ensure_lanes(&keys).await?;
        Ok(Self { jobs, queues, kinds, lanes })
    }

    fn batch(self) -> Batch {
        let (written, doubles) = split(&self.jobs);
        let Self { jobs, queues, kinds, lanes } = self;
        Batch { jobs, queues, kinds, lanes, written, doubles }
    }

    /// The jobs at `chosen`, by themselves.
    fn pick(&self, chosen: &[usize]) -> Fill {
        let ids = |of: &[i32]| chosen.iter().map(|&at| of[at]).collect();
        let picked = Self {
            jobs: chosen.iter().map(|&at| self.jobs[at].clone()).collect(),
            queues: ids(&self.queues),
            kinds: ids(&self.kinds),
            lanes: ids(&self.lanes),
        };
        Fill { batch: picked.batch(), atomic: true }
    }

    /// Inserts groups of jobs within a transaction, each group whole or not at
    /// all. The answers stand in the order of the groups.
    pub(super) async fn insert_groups(
        &self,
        connection: &mut PgConnection,
        groups: &[Vec<usize>],
    ) -> Result<Vec<Vec<Inserted>>, Fault> {
        let all: Vec<usize> = groups.iter().flatten().copied().collect();
        if all.is_empty() {
            return Ok(groups.iter().map(|_| Vec::new()).collect());
        }
        let together = self.pick(&all);
        if together.batch.doubles.is_empty()
            && let Some(answers) = together.insert_whole(connection).await?.good()
        {
            let mut answers = answers.into_iter();
            return Ok(groups.iter().map(|group| answers.by_ref().take(group.len()).collect()).collect());
        }
        let mut answers = Vec::with_capacity(groups.len());
        for group in groups {
            answers.push(if group.is_empty() {
                Vec::new()
            } else {
                self.pick(group).insert_whole(connection).await?.answers
            });
        }
        Ok(answers)
    }

    /// The lanes that the jobs at these places wait in, of those that are due.
    pub(super) fn due_lanes(&self, inserted: impl Iterator<Item = (usize, Inserted)>) -> Vec<i32> {
        let due = inserted.filter(|(at, answer)| {
            *answer == Inserted::New && self.jobs[*at].standing.state() == JobState::Pending
        });
        due.map(|(at, _)| self.lanes[at]).collect()
    }
}

/// What became of jobs that are inserted whole or not at all.
struct Whole {
    answers: Vec<Inserted>,
    inserted: bool,
}

impl Whole {
    fn good(self) -> Option<Vec<Inserted>> {
        self.inserted.then_some(self.answers)
    }
}

impl Batch {
    async fn new(inner: &Arc<Inner>, jobs: Vec<NewJob>) -> StoreResult<Self> {
        Ok(Prepared::new(inner, jobs).await?.batch())
    }

    fn key(&self, at: usize) -> Option<Key> {
        let spec = &self.jobs[at].spec;
        spec.idempotency_key.as_ref().map(|key| (spec.tenant.0, key.clone()))
    }

    fn same_request(&self, at: usize, owner: &Owner) -> Inserted {
        let job = JobId(owner.job);
        if owner.fingerprint == self.jobs[at].fingerprint {
            Inserted::Existing(job)
        } else {
            Inserted::KeyReused(job)
        }
    }
}

fn split(jobs: &[NewJob]) -> (Vec<usize>, Vec<(usize, usize)>) {
    let mut first: HashMap<(i32, &str), usize> = HashMap::new();
    let (mut written, mut doubles) = (Vec::with_capacity(jobs.len()), Vec::new());
    for (at, job) in jobs.iter().enumerate() {
        match &job.spec.idempotency_key {
            Some(key) => match first.entry((job.spec.tenant.0, key)) {
                std::collections::hash_map::Entry::Occupied(earlier) => doubles.push((at, *earlier.get())),
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(at);
                    written.push(at);
                }
            },
            None => written.push(at),
        }
    }
    (written, doubles)
}

/// Inserts `jobs`: see the port.
pub(super) async fn insert(
    inner: &Arc<Inner>,
    jobs: Vec<NewJob>,
    atomic: bool,
) -> StoreResult<Vec<Inserted>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let batch = Batch::new(inner, jobs).await?;
    let inner = Arc::clone(inner);
    detached(async move {
        let fill = Fill { batch, atomic };
        // Without keys nothing can be refused but for a backlog, which closes the statement as a whole.
        let keyless = fill.batch.jobs.iter().all(|job| job.spec.idempotency_key.is_none());
        let alone = (!atomic || keyless) && fill.batch.written.len() <= CHUNK;
        if alone && let Some(answers) = fill.in_one_statement(&inner).await? {
            inner.wake_later(fill.due_lanes(&answers));
            return Ok(answers);
        }
        let answers = transact(&inner.warm, &fill).await?;
        if !atomic || answers.iter().all(is_good) {
            inner.activate(fill.due_lanes(&answers)).await?;
        }
        Ok(answers)
    })
    .await
}

fn is_good(answer: &Inserted) -> bool {
    matches!(answer, Inserted::New | Inserted::Existing(_))
}

/// One insert.
struct Fill {
    batch: Batch,
    atomic: bool,
}

impl Unit for Fill {
    type Output = Vec<Inserted>;

    async fn run(&self, connection: &mut PgConnection) -> Result<End<Self::Output>, Fault> {
        let mut answers = vec![Inserted::New; self.batch.jobs.len()];
        let written = backlog::admit(connection, &self.batch, &mut answers).await?;
        let mut lost = Vec::new();
        for chunk in written.chunks(CHUNK) {
            if let Some(chunk_lost) = write(connection, &self.batch, chunk, &[], &[]).await? {
                lost.extend(chunk_lost);
            }
        }
        self.answer_lost(connection, lost, &mut answers).await?;
        let undo = self.atomic && !answers.iter().all(is_good);
        Ok(if undo { End::Undo(answers) } else { End::Commit(answers) })
    }
}

impl Fill {
    /// Writes the batch, or nothing if a job of it cannot be made. A key that is
    /// taken in the very moment of the write is answered all the same.
    async fn insert_whole(&self, connection: &mut PgConnection) -> Result<Whole, Fault> {
        let batch = &self.batch;
        let mut answers = vec![Inserted::New; batch.jobs.len()];
        let admitted = backlog::admit(connection, batch, &mut answers).await?;
        let keyed: Vec<usize> = admitted.iter().copied().filter(|&at| batch.key(at).is_some()).collect();
        let owners =
            if keyed.is_empty() { HashMap::new() } else { write::owners(connection, batch, &keyed).await? };
        for &at in &keyed {
            if let Some(owner) = batch.key(at).and_then(|key| owners.get(&key)) {
                answers[at] = batch.same_request(at, owner);
            }
        }
        if !answers.iter().all(is_good) {
            return Ok(Whole { answers, inserted: false });
        }
        let mut lost = Vec::new();
        for chunk in admitted.chunks(CHUNK) {
            lost.extend(write(connection, batch, chunk, &[], &[]).await?.unwrap_or_default());
        }
        self.answer_lost(connection, lost, &mut answers).await?;
        Ok(Whole { answers, inserted: true })
    }

    /// Writes the batch in a statement that commits by itself and wakes its lanes. `None`
    /// says that a tenant has a limit on its backlog and nothing was written.
    async fn in_one_statement(&self, inner: &Inner) -> StoreResult<Option<Vec<Inserted>>> {
        let mut tenants: Vec<i32> = self.batch.jobs.iter().map(|job| job.spec.tenant.0).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let mut tries = 0;
        loop {
            tries += 1;
            match self.attempt(inner, &tenants).await {
                Err(fault) if fault.is_conflict() && tries < KEY_TRIES => {}
                result => return result.map_err(Into::into),
            }
        }
    }

    async fn attempt(&self, inner: &Inner, tenants: &[i32]) -> Result<Option<Vec<Inserted>>, Fault> {
        let mut connection = inner.warm.take().await?;
        let mut answers = vec![Inserted::New; self.batch.jobs.len()];
        let lanes = self.due_lanes(&answers);
        let lost = write(&mut connection, &self.batch, &self.batch.written, tenants, &lanes).await?;
        let written = lost.is_some();
        if let Some(lost) = lost {
            self.answer_lost(&mut connection, lost, &mut answers).await?;
        }
        inner.warm.keep(connection);
        Ok(written.then_some(answers))
    }

    /// Answers for the jobs whose keys were taken, and for the doubles of the batch.
    async fn answer_lost(
        &self,
        connection: &mut PgConnection,
        mut lost: Vec<usize>,
        answers: &mut [Inserted],
    ) -> Result<(), Fault> {
        let mut owners = HashMap::new();
        let mut tries = 0;
        while !lost.is_empty() {
            owners.extend(write::owners(connection, &self.batch, &lost).await?);
            let has_owner = |at: &usize| self.batch.key(*at).is_some_and(|key| owners.contains_key(&key));
            let (owned, orphaned): (Vec<usize>, Vec<usize>) = lost.into_iter().partition(has_owner);
            for at in owned {
                if let Some(owner) = self.batch.key(at).and_then(|key| owners.get(&key)) {
                    answers[at] = self.batch.same_request(at, owner);
                }
            }
            // The job that had the key was deleted just now, and the key with it.
            lost = orphaned;
            tries += 1;
            if !lost.is_empty() {
                if tries == KEY_TRIES {
                    return Err(rejected("idempotency keys come and go").into());
                }
                lost = write(connection, &self.batch, &lost, &[], &[]).await?.unwrap_or_default();
            }
        }
        for &(at, first) in &self.batch.doubles {
            answers[at] = match (answers[first], self.batch.key(at).and_then(|key| owners.get(&key))) {
                (Inserted::BacklogFull(most), _) => Inserted::BacklogFull(most),
                (_, Some(owner)) => self.batch.same_request(at, owner),
                (_, None) => {
                    let first = &self.batch.jobs[first];
                    let owner = Owner { job: first.spec.id.0, fingerprint: first.fingerprint.to_vec() };
                    self.batch.same_request(at, &owner)
                }
            };
        }
        Ok(())
    }

    /// The lanes of jobs that are due and were written.
    fn due_lanes(&self, answers: &[Inserted]) -> Vec<i32> {
        let batch = &self.batch;
        let due: HashSet<i32> = (0..batch.jobs.len())
            .filter(|&at| answers[at] == Inserted::New)
            .filter(|&at| batch.jobs[at].standing.state() == JobState::Pending)
            .map(|at| batch.lanes[at])
            .collect();
        due.into_iter().collect()
    }
}

//! Putting jobs together: what was asked for, where it stands, and what is told of it.

use std::sync::{Arc, LazyLock};

use sqlx::Row;
use sqlx::postgres::PgRow;
use taskflow_application::ports::StoreResult;
use taskflow_domain::{Attempt, AttemptError, Job, JobId, JobState, TenantId, Timestamp};
use uuid::Uuid;

use super::super::Inner;
use super::history::{ATTEMPT, LAST};
use super::search::Search;
use super::unreadable;
use crate::store::row::{AttemptRow, CountersRow, JobRow, PlaceRow, ProgressRow};

/// The one place of the job `p.job_id` in the common form of all four.
const PLACE: &str = "
    select 2::int2 state, r.due_at, r.since, null::int2 delay, null::bool waiting, null::text reason,
        null::text worker, null::int8 token, null::int8 cancel_at, null::text cancel_actor,
        r.seq, null::int4 started_seq, r.attempt, r.spent, r.lost, r.interrupted, r.snoozed
    from ready r where r.tenant_id = $1 and r.job_id = p.job_id
    union all
    select r.state, r.due_at, r.since, r.delay, r.waiting, null, null, null, null, null,
        r.seq, null, r.attempt, r.spent, r.lost, r.interrupted, r.snoozed
    from parked r where r.tenant_id = $1 and r.job_id = p.job_id
    union all
    select 3::int2, r.due_at, r.started_at, null, null, null,
        (select w.name from worker w where w.id = r.worker_id), r.token, r.cancel_at, r.cancel_actor,
        r.seq, r.started_seq, r.attempt, r.spent, r.lost, r.interrupted, r.snoozed
    from running r where r.tenant_id = $1 and r.job_id = p.job_id
    union all
    select r.state, null, r.finished_at, null, null, r.reason, null, null, null, null,
        r.seq, null, r.attempt, r.spent, r.lost, r.interrupted, r.snoozed
    from finished r where r.tenant_id = $1 and r.job_id = p.job_id";

/// When the last entry was made that is kept as such. Of a job that runs, the
/// place does not tell: it says since when the attempt runs.
const NOTED: &str = "
    case when s.state = 3 then (select e.at from job_event e
        where e.tenant_id = $1 and e.job_id = p.job_id order by e.seq desc limit 1) end";

/// The jobs of `page`. Each part is looked up by key for each job in turn. The
/// running attempt follows from the place; of the others the highest counts.
static JOBS: LazyLock<String> = LazyLock::new(|| {
    let (job, place, counters) = (JobRow::columns("j"), PlaceRow::columns("s"), CountersRow::columns("s"));
    let (attempt, progress) = (AttemptRow::columns("a"), ProgressRow::columns("g"));
    format!(
        "select {job}, {place}, {counters}, {progress}, {NOTED}, a.number is not null, {attempt}
        from page p
        cross join lateral (select * from job j where j.tenant_id = $1 and j.id = p.job_id offset 0) j
        cross join lateral ({PLACE} limit 1) s
        left join lateral (
            (select {ATTEMPT} from attempt a
             where a.tenant_id = $1 and a.job_id = p.job_id
             order by a.number desc limit 1)
            union all
            (select {LAST} from finished r
             where r.tenant_id = $1 and r.job_id = p.job_id and s.state > 4 and r.worker_id is not null)
            order by number desc limit 1) a on true
        left join lateral (
            select * from progress g where g.tenant_id = $1 and g.job_id = p.job_id offset 0) g on true
        order by p.n, p.job_id desc"
    )
});

/// The jobs of the ids `$2`, in their order.
static BY_IDS: LazyLock<String> = LazyLock::new(|| {
    let page = "select i.job_id, i.n from unnest($2::uuid[]) with ordinality i(job_id, n)";
    format!("with page as materialized ({page}) {}", *JOBS)
});

/// A row of [`JOBS`].
struct Found {
    job: JobRow,
    place: PlaceRow,
    counters: CountersRow,
    progress: ProgressRow,
    noted: Option<i64>,
    /// The attempt that ended last.
    attempt: Option<AttemptRow>,
}

impl Found {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        let place = JobRow::COLUMNS.len();
        let counters = place + PlaceRow::COLUMNS.len();
        let progress = counters + CountersRow::COLUMNS.len();
        let noted = progress + ProgressRow::COLUMNS.len();
        let has_attempt = noted + 1;
        let attempt = row.try_get::<bool, _>(has_attempt)?;
        Ok(Self {
            job: JobRow::read(row, 0)?,
            place: PlaceRow::read(row, place)?,
            counters: CountersRow::read(row, counters)?,
            progress: ProgressRow::read(row, progress)?,
            noted: row.try_get(noted)?,
            attempt: attempt.then(|| AttemptRow::read(row, has_attempt + 1)).transpose()?,
        })
    }

    /// The running attempt, else the one that ended last; and why the one that
    /// ended last did not succeed.
    fn last_attempt(&mut self, id: Uuid) -> StoreResult<(Option<Attempt>, Option<AttemptError>)> {
        let read = |row: AttemptRow| StoreResult::Ok(row.numbered(id)?.attempt);
        let ended = self.attempt.take().map(read).transpose()?;
        let end = ended.as_ref().and_then(|attempt| attempt.end.as_ref());
        let error = end.and_then(|end| end.error.clone());
        let running = self.place.state == JobState::Running.code();
        let last = if running { Some(read(self.running_attempt())?) } else { ended };
        Ok((last, error))
    }

    fn running_attempt(&self) -> AttemptRow {
        AttemptRow {
            number: self.counters.attempt,
            worker: self.place.worker.clone().unwrap_or_default(),
            token: self.place.token.unwrap_or_default(),
            started_at: self.place.since,
            finished_at: None,
            outcome: None,
            error_kind: None,
            error_message: None,
            result: None,
            then_state: None,
            next_run_at: None,
            reason: None,
            started_seq: self.place.started_seq.unwrap_or_default(),
            ended_seq: None,
        }
    }
}

impl Inner {
    /// The jobs of these ids, in their order, without those that are absent.
    pub(in super::super) async fn jobs(
        self: &Arc<Self>,
        tenant: TenantId,
        jobs: &[JobId],
        now: Timestamp,
    ) -> StoreResult<Vec<Job>> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
        let look = self.look(tenant, move |connection| {
            let text: &'static str = &BY_IDS;
            Box::pin(sqlx::query(text).bind(tenant.0).bind(ids.clone()).fetch_all(connection))
        });
        let rows = look.await?;
        self.assemble(&rows, now).await
    }

    /// The jobs that a search finds.
    pub(super) async fn found(self: &Arc<Self>, search: &Search, now: Timestamp) -> StoreResult<Vec<Job>> {
        let (front, page) = search.page();
        let text = format!("{front}page as materialized ({page}) {}", *JOBS);
        let rows = search.rows(self, text).await?;
        self.assemble(&rows, now).await
    }

    async fn assemble(&self, rows: &[PgRow], now: Timestamp) -> StoreResult<Vec<Job>> {
        let found: Vec<Found> =
            rows.iter().map(Found::read).collect::<sqlx::Result<_>>().map_err(unreadable)?;
        let of = |id: fn(&JobRow) -> i32| found.iter().map(move |found| id(&found.job));
        self.learn_names(of(|job| job.queue_id), of(|job| job.kind_id), of(|job| job.tenant_id)).await?;
        found.into_iter().map(|found| self.job(found, now)).collect()
    }

    fn job(&self, mut found: Found, now: Timestamp) -> StoreResult<Job> {
        let id = found.job.id;
        let told = [found.progress.at, found.noted].into_iter().flatten();
        let changed = told.fold(found.place.since, i64::max);
        let (last_attempt, last_error) = found.last_attempt(id)?;
        let (queue, kind) = (self.queue_name(found.job.queue_id)?, self.kind_name(found.job.kind_id)?);
        Ok(Job {
            slug: self.tenant_slug(found.job.tenant_id)?,
            standing: found.place.standing(id, now)?,
            counters: found.counters.counters(),
            seq: found.place.version(id)?,
            last_attempt,
            last_error,
            progress: found.progress.progress(),
            updated_at: Timestamp::from_micros(changed),
            spec: found.job.spec(queue, kind)?,
        })
    }
}

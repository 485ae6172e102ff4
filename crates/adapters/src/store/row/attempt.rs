//! `attempt` and `job_event`: what a job's history is put together from.

use taskflow_application::ports::StoreError;
use taskflow_domain::attempt::AttemptEnd;
use taskflow_domain::event::NumberedAttempt;
use taskflow_domain::{
    Actor, Attempt, AttemptError, EventKind, JobEvent, JobState, Json, LeaseToken, Outcome, Timestamp,
    WorkerName,
};
use uuid::Uuid;

use super::{corrupt, row};

row! {
    /// A row of `attempt` with the worker's name; of the running attempt, which
    /// has no row yet, everything about its end is null.
    AttemptRow {
        number: i16,
        worker: String,
        token: i64,
        started_at: i64,
        finished_at: Option<i64>,
        outcome: Option<i16>,
        error_kind: Option<String>,
        error_message: Option<String>,
        result: Option<String>,
        then_state: Option<i16>,
        next_run_at: Option<i64>,
        reason: Option<String>,
        started_seq: i32,
        ended_seq: Option<i32>,
    }
}

/// The reasons that the domain gives for a job's state.
const REASONS: [&str; 4] = ["cancelled", "permanent_failure", "poison", "attempts_exhausted"];

impl AttemptRow {
    /// The attempt of the job `id`, with the numbers of its entries.
    pub(crate) fn numbered(self, id: Uuid) -> Result<NumberedAttempt, StoreError> {
        let seq =
            |column, value: i32| u32::try_from(value).map_err(|fault| corrupt("attempt", column, id, fault));
        let started_seq = seq("started_seq", self.started_seq)?;
        let ended_seq = self.ended_seq.map(|value| seq("ended_seq", value)).transpose()?;
        let number = u16::try_from(self.number).map_err(|fault| corrupt("attempt", "number", id, fault))?;
        let worker =
            WorkerName::new(&self.worker).map_err(|fault| corrupt("worker", "name", &self.worker, fault))?;
        let (token, started_at) = (LeaseToken(self.token), Timestamp::from_micros(self.started_at));
        let end = self.end(id)?;
        Ok(NumberedAttempt {
            attempt: Attempt { number, worker, token, started_at, end },
            started_seq,
            ended_seq,
        })
    }

    fn end(self, id: Uuid) -> Result<Option<AttemptEnd>, StoreError> {
        let (Some(finished_at), Some(outcome), Some(then)) =
            (self.finished_at, self.outcome, self.then_state)
        else {
            return Ok(None);
        };
        let reason = self.reason.map(|text| {
            let known = REASONS.into_iter().find(|known| *known == text);
            known.ok_or_else(|| corrupt("attempt", "reason", id, text))
        });
        Ok(Some(AttemptEnd {
            at: Timestamp::from_micros(finished_at),
            outcome: Outcome::from_code(outcome).ok_or_else(|| corrupt("attempt", "outcome", id, outcome))?,
            error: self
                .error_kind
                .map(|kind| AttemptError { kind, message: self.error_message.unwrap_or_default() }),
            result: self.result.as_deref().map(Json::from_valid),
            then: JobState::from_code(then).ok_or_else(|| corrupt("attempt", "then_state", id, then))?,
            next_run_at: self.next_run_at.map(Timestamp::from_micros),
            reason: reason.transpose()?,
        }))
    }
}

row! {
    /// A row of `job_event`.
    EventRow {
        seq: i32,
        kind: i16,
        at: i64,
        actor: String,
        data: String,
    }
}

impl EventRow {
    /// The entry of the job `id`.
    pub(crate) fn event(self, id: Uuid) -> Result<JobEvent, StoreError> {
        Ok(JobEvent {
            seq: u32::try_from(self.seq).map_err(|fault| corrupt("job_event", "seq", id, fault))?,
            kind: EventKind::from_code(self.kind)
                .ok_or_else(|| corrupt("job_event", "kind", id, self.kind))?,
            at: Timestamp::from_micros(self.at),
            actor: Actor::from_stored(self.actor),
            data: serde_json::from_str(&self.data)
                .map_err(|fault| corrupt("job_event", "data", id, fault))?,
        })
    }
}

//! Rows on their way into a table: a whole batch travels as one JSON parameter,
//! so that a statement costs its round trip once for any number of rows.
//!
//! A record is written as an array, its values by position; 16-byte ids are
//! written as hexadecimal text and turned back into blobs by the statement.

use serde::Serialize;
use uuid::Uuid;

use super::super::error::Fault;
use taskflow_application::ports::StoreError;

/// A row of one table, ready to be written.
pub(super) trait Record: Serialize {
    /// The table.
    const TABLE: &'static str;
    /// Its columns, in the order of the values.
    const COLUMNS: &'static [&'static str];
}

/// Columns that hold blobs; every other id is a number.
const BLOBS: [&str; 7] =
    ["id", "job_id", "correlation_id", "parent_job_id", "rule_id", "firing_id", "fingerprint"];

/// Declares a record.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident in $table:literal { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(super) struct $name {
            $(pub(super) $field: $type,)*
        }

        impl Record for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),*];
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeSeq as _;
                let mut seq = serializer.serialize_seq(Some(Self::COLUMNS.len()))?;
                $(seq.serialize_element(&self.$field)?;)*
                seq.end()
            }
        }
    };
}

record! {
    /// A row of `job`.
    JobRecord in "job" {
        tenant_id: i32,
        id: Uuid,
        queue_id: i32,
        kind_id: i32,
        lane_id: i32,
        priority: i16,
        payload: String,
        labels: Option<String>,
        target: Option<String>,
        retry_policy: Option<String>,
        timeout_ms: i64,
        idempotency_key: Option<String>,
        correlation_id: Option<Uuid>,
        parent_job_id: Option<Uuid>,
        rule_id: Option<Uuid>,
        firing_id: Option<Uuid>,
        traceparent: Option<String>,
        created_by: String,
        created_at: i64,
        run_at: i64,
    }
}

record! {
    /// A row of `idempotency`.
    KeyRecord in "idempotency" {
        tenant_id: i32,
        key: String,
        job_id: Uuid,
        fingerprint: String,
        created_at: i64,
    }
}

record! {
    /// A row of `job_label`.
    LabelRecord in "job_label" {
        tenant_id: i32,
        key: String,
        value: String,
        job_id: Uuid,
    }
}

record! {
    /// A row of `ready`.
    ReadyRecord in "ready" {
        tenant_id: i32,
        job_id: Uuid,
        lane_id: i32,
        ord: i64,
        kind_id: i32,
        priority: i16,
        due_at: i64,
        since: i64,
        attempt: i16,
        spent: i16,
        lost: i16,
        interrupted: i16,
        snoozed: i16,
        seq: i32,
    }
}

record! {
    /// A row of `parked`.
    ParkedRecord in "parked" {
        tenant_id: i32,
        job_id: Uuid,
        lane_id: i32,
        kind_id: i32,
        priority: i16,
        due_at: i64,
        since: i64,
        attempt: i16,
        spent: i16,
        lost: i16,
        interrupted: i16,
        snoozed: i16,
        seq: i32,
        state: i16,
        delay: i16,
        waiting: i16,
    }
}

record! {
    /// A row of `running`.
    RunningRecord in "running" {
        tenant_id: i32,
        job_id: Uuid,
        lane_id: i32,
        kind_id: i32,
        priority: i16,
        due_at: i64,
        started_at: i64,
        worker_id: i32,
        token: i64,
        lease_until: Option<i64>,
        charged_us: i64,
        attempt: i16,
        spent: i16,
        lost: i16,
        interrupted: i16,
        snoozed: i16,
        seq: i32,
        started_seq: i32,
    }
}

record! {
    /// A row of `finished`.
    FinishedRecord in "finished" {
        tenant_id: i32,
        job_id: Uuid,
        lane_id: i32,
        kind_id: i32,
        state: i16,
        reason: Option<String>,
        finished_at: i64,
        attempt: i16,
        spent: i16,
        lost: i16,
        interrupted: i16,
        snoozed: i16,
        seq: i32,
        started_at: Option<i64>,
        token: Option<i64>,
        worker_id: Option<i32>,
        started_seq: Option<i32>,
        outcome: Option<i16>,
        error_kind: Option<String>,
        error_message: Option<String>,
        result: Option<String>,
    }
}

record! {
    /// A row of `attempt`.
    AttemptRecord in "attempt" {
        tenant_id: i32,
        job_id: Uuid,
        number: i16,
        worker_id: i32,
        token: i64,
        started_at: i64,
        finished_at: i64,
        outcome: i16,
        error_kind: Option<String>,
        error_message: Option<String>,
        result: Option<String>,
        then_state: i16,
        next_run_at: Option<i64>,
        reason: Option<String>,
        started_seq: i32,
        ended_seq: i32,
    }
}

impl FinishedRecord {
    /// Takes in the attempt that ended the job; gives back one that did not.
    pub(super) fn ended_by(&mut self, attempt: AttemptRecord) -> Option<AttemptRecord> {
        let same = (self.tenant_id, self.job_id, self.attempt, self.state, self.finished_at, self.seq)
            == (
                attempt.tenant_id,
                attempt.job_id,
                attempt.number,
                attempt.then_state,
                attempt.finished_at,
                attempt.ended_seq,
            );
        if !same || self.reason != attempt.reason || attempt.next_run_at.is_some() {
            return Some(attempt);
        }
        self.started_at = Some(attempt.started_at);
        self.token = Some(attempt.token);
        self.worker_id = Some(attempt.worker_id);
        self.started_seq = Some(attempt.started_seq);
        self.outcome = Some(attempt.outcome);
        self.error_kind = attempt.error_kind;
        self.error_message = attempt.error_message;
        self.result = attempt.result;
        None
    }
}

record! {
    /// A row of `job_event`.
    EventRecord in "job_event" {
        tenant_id: i32,
        job_id: Uuid,
        seq: i32,
        kind: i16,
        at: i64,
        actor: String,
        data: String,
    }
}

record! {
    /// A row of `progress`.
    ProgressRecord in "progress" {
        tenant_id: i32,
        job_id: Uuid,
        percent: i16,
        message: Option<String>,
        succeeded: i64,
        failed: i64,
        at: i64,
    }
}

/// A batch as the text of one parameter.
pub(super) fn batch<T: Serialize>(rows: &[T]) -> Result<String, Fault> {
    serde_json::to_string(rows).map_err(|fault| StoreError::Rejected(fault.to_string()).into())
}

/// The value at `position` of the record in `e`, of a column of that name.
fn value(position: usize, column: &str) -> String {
    if BLOBS.contains(&column) {
        format!("unhex(e.value->>'$[{position}]', '-')")
    } else {
        format!("e.value->>'$[{position}]'")
    }
}

/// The statement that writes a batch of records, parameter 1; `verb` is
/// `insert` or a variety of it.
pub(super) fn insert_sql<R: Record>(verb: &str) -> String {
    let values: Vec<_> = R::COLUMNS.iter().enumerate().map(|(at, column)| value(at, column)).collect();
    format!(
        "{verb} into {} ({}) select {} from jsonb_each(?1) e",
        R::TABLE,
        R::COLUMNS.join(", "),
        values.join(", ")
    )
}

/// The statement that deletes rows by a batch of `[tenant, job]`, parameter 1.
pub(super) fn delete_sql(table: &str, id: &str) -> String {
    format!(
        "delete from {table} where (tenant_id, {id}) in \
         (select e.value->>'$[0]', unhex(e.value->>'$[1]', '-') from jsonb_each(?1) e)"
    )
}

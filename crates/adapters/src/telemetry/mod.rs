//! Metrics, logs and traces: what is counted, and how it leaves the process.

mod catalogue;
mod logs;
mod otlp;
mod prometheus;
mod spans;

pub use catalogue::{CATALOGUE, Entry, Kind};
pub use logs::{LogFormat, check_filter, start_logs};
pub use otlp::{Traces, start_traces};
pub use prometheus::{Metrics, UPKEEP};
pub(crate) use spans::Span;

/// Requests answered, by `route` (the pattern), `method` and `status`.
pub const HTTP_REQUESTS: &str = "taskflow_http_requests_total";
/// Seconds until a request was answered, by `route` and `method`.
pub const HTTP_SECONDS: &str = "taskflow_http_request_seconds";
/// HTTP connections that are open.
pub const HTTP_CONNECTIONS: &str = "taskflow_http_connections";
/// Jobs by `queue` and `state`, as of the last sample.
pub const QUEUE_DEPTH: &str = "taskflow_queue_depth";
/// Seconds that the oldest due job of a `queue` has been due, as of the last sample.
pub const QUEUE_OLDEST_DUE: &str = "taskflow_queue_oldest_due_age_seconds";
/// Seconds of virtual time between the lanes of a `queue` that compete for work, as of the last sample.
pub const FAIRNESS_LAG: &str = "taskflow_fairness_lag_seconds";
/// Leases that this process holds.
pub const LEASES_HELD: &str = "taskflow_leases_held";
/// Jobs that this process may run at once.
pub const WORKER_SLOTS: &str = "taskflow_worker_slots";
/// Connections of this process to its database, by `state`: `idle` or `used`.
pub const DATABASE_CONNECTIONS: &str = "taskflow_database_connections";
/// Whether the database answered the last time it was asked: 1 or 0.
pub const DATABASE_UP: &str = "taskflow_database_up";
/// Seconds by which the machine's clock lags the database's.
pub const CLOCK_OFFSET: &str = "taskflow_clock_offset_seconds";
/// Runs of a loop of the runner, by `loop` and `outcome`: `ok` or `error`.
pub const LOOP_RUNS: &str = "taskflow_loop_runs_total";
/// Always 1; the label `version` says what runs.
pub const BUILD_INFO: &str = "taskflow_build_info";

//! Every metric with its kind and its meaning: the one list that the exporter,
//! the documentation and the dashboard are checked against.

use taskflow_application::meter;

/// What sort of figure a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What sort of figure it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

const fn entry(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Entry {
    Entry { name, kind, labels, help }
}

/// Every metric.
pub const CATALOGUE: &[Entry] = &[
    entry(meter::JOBS_CREATED, Kind::Counter, &["queue"], "Jobs accepted"),
    entry(meter::ATTEMPTS_STARTED, Kind::Counter, &["queue"], "Attempts begun"),
    entry(meter::ATTEMPTS_FINISHED, Kind::Counter, &["queue", "outcome"], "Attempts ended"),
    entry(meter::JOBS_FINISHED, Kind::Counter, &["queue", "state"], "Jobs ended"),
    entry(meter::RETRIES, Kind::Counter, &["queue"], "Attempts that are followed by another"),
    entry(meter::JOB_WAIT, Kind::Histogram, &["queue"], "Seconds from due to claimed"),
    entry(meter::JOB_RUN, Kind::Histogram, &["queue"], "Seconds that an attempt took"),
    entry(meter::LEASES_EXPIRED, Kind::Counter, &[], "Leases that expired because their worker was lost"),
    entry(meter::REPORTS_REFUSED, Kind::Counter, &[], "Reports refused because their lease was lost"),
    entry(meter::JOBS_PRUNED, Kind::Counter, &[], "Jobs deleted by retention"),
    entry(meter::DISCREPANCIES, Kind::Counter, &["what"], "Discrepancies that sweeps mended; 0 in health"),
    entry(meter::SUBMIT_BATCH, Kind::Histogram, &[], "Concurrent submits that shared a transaction"),
    entry(
        meter::STATS_DROPPED,
        Kind::Counter,
        &[],
        "Statistics left out: too many came at once, or the database refused them",
    ),
    entry(meter::RULE_FIRINGS, Kind::Counter, &["outcome", "reason"], "Firings of rules"),
    entry(meter::RULE_EVALUATION, Kind::Histogram, &[], "Seconds that an evaluation of a rule took"),
    entry(meter::SCHEDULE_LATENESS, Kind::Histogram, &[], "Seconds from an occurrence's time to its commit"),
    entry(meter::EVENTS_RECEIVED, Kind::Counter, &["outcome"], "Deliveries and events from outside"),
    entry(meter::EVENTS_DISPATCHED, Kind::Counter, &[], "Entries of the outbox that were dispatched"),
    entry(super::HTTP_REQUESTS, Kind::Counter, &["route", "method", "status"], "Requests answered"),
    entry(super::HTTP_SECONDS, Kind::Histogram, &["route", "method"], "Seconds until a request was answered"),
    entry(super::HTTP_CONNECTIONS, Kind::Gauge, &[], "HTTP connections that are open"),
    entry(super::QUEUE_DEPTH, Kind::Gauge, &["queue", "state"], "Jobs by queue and state"),
    entry(super::QUEUE_OLDEST_DUE, Kind::Gauge, &["queue"], "Seconds that the oldest due job has been due"),
    entry(super::FAIRNESS_LAG, Kind::Gauge, &["queue"], "Virtual seconds between lanes that compete"),
    entry(super::LEASES_HELD, Kind::Gauge, &[], "Leases that this process holds"),
    entry(super::WORKER_SLOTS, Kind::Gauge, &[], "Jobs that this process may run at once"),
    entry(super::DATABASE_CONNECTIONS, Kind::Gauge, &["state"], "Connections to the database"),
    entry(super::DATABASE_UP, Kind::Gauge, &[], "Whether the database answered the last time"),
    entry(super::CLOCK_OFFSET, Kind::Gauge, &[], "Seconds by which the machine's clock lags the database's"),
    entry(super::LOOP_RUNS, Kind::Counter, &["loop", "outcome"], "Runs of the runner's loops"),
    entry(super::BUILD_INFO, Kind::Gauge, &["version"], "What runs"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_convention() {
        for entry in CATALOGUE {
            assert!(entry.name.starts_with("taskflow_"), "{}", entry.name);
            assert_eq!(entry.kind == Kind::Counter, entry.name.ends_with("_total"), "{}", entry.name);
            for label in entry.labels {
                assert!(!["tenant", "job", "job_id", "tenant_id"].contains(label), "{}", entry.name);
            }
        }
    }
}

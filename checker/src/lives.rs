//! A history put in order: what belongs to each job, in the order of its numbers.

use std::collections::BTreeMap;

use crate::history::{AttemptRow, Effect, EventRow, Fault, FiringRow, History, JobRow, LeaseRow, Op};

/// Everything that is known of one job.
#[derive(Default)]
pub struct Life<'a> {
    /// Its row, if it exists.
    pub row: Option<&'a JobRow>,
    /// Its entries, by number.
    pub events: Vec<&'a EventRow>,
    /// Its attempts, by number.
    pub attempts: Vec<&'a AttemptRow>,
    /// Its executions, by time.
    pub effects: Vec<&'a Effect>,
}

/// A history put in order.
pub struct Lives<'a> {
    /// All of it.
    pub history: &'a History,
    /// By job.
    pub jobs: BTreeMap<&'a str, Life<'a>>,
    /// What rules came to, by the id of the firing.
    pub firings: BTreeMap<&'a str, &'a FiringRow>,
    /// By job and token.
    leases: BTreeMap<(&'a str, &'a str), Told>,
    /// By worker: when it was heard of, and until when its lease lasted then.
    beats: BTreeMap<&'a str, Vec<(i64, i64)>>,
}

/// What is known of the end of a lease.
#[derive(Default)]
struct Told {
    /// When something was told, and until when the lease lasted then.
    told: Vec<(i64, i64)>,
    /// Whether the worker's own lease covers it.
    by_worker: bool,
}

impl<'a> Lives<'a> {
    /// Puts a history in order.
    pub fn of(history: &'a History) -> Self {
        let mut jobs: BTreeMap<&str, Life<'_>> = BTreeMap::new();
        for row in &history.jobs {
            jobs.entry(&row.job).or_default().row = Some(row);
        }
        for event in &history.events {
            jobs.entry(&event.job).or_default().events.push(event);
        }
        for attempt in &history.attempts {
            jobs.entry(&attempt.job).or_default().attempts.push(attempt);
        }
        for effect in &history.effects {
            jobs.entry(&effect.job).or_default().effects.push(effect);
        }
        for life in jobs.values_mut() {
            life.events.sort_by_key(|event| event.seq);
            life.attempts.sort_by_key(|attempt| attempt.number);
            life.effects.sort_by_key(|effect| (effect.began_at, effect.attempt));
        }
        let firings = history.firings.iter().map(|firing| (firing.firing.as_str(), firing)).collect();
        let (leases, beats) = (BTreeMap::new(), BTreeMap::new());
        let mut lives = Self { history, jobs, firings, leases, beats };
        lives.index_leases();
        lives
    }

    fn index_leases(&mut self) {
        for lease in &self.history.leases {
            match lease {
                LeaseRow::Grant { at, job, token, until, .. } => {
                    let told = self.leases.entry((job, token)).or_default();
                    told.by_worker |= until.is_none();
                    told.told.extend(until.map(|until| (*at, until)));
                }
                LeaseRow::Extend { at, job, token, until } => {
                    self.leases.entry((job, token)).or_default().told.push((*at, *until));
                }
                LeaseRow::Beat { at, worker, until } => {
                    self.beats.entry(worker).or_default().push((*at, *until));
                }
                LeaseRow::End { .. } => {}
            }
        }
    }

    /// The jobs that exist, with all that belongs to them.
    pub fn existing(&self) -> impl Iterator<Item = (&'a JobRow, &Life<'a>)> {
        self.jobs.values().filter_map(|life| life.row.map(|row| (row, life)))
    }

    /// The job that came from the submit of this marker.
    pub fn made_from(&self, marker: &str) -> Vec<&'a JobRow> {
        self.history.jobs.iter().filter(|row| row.marker == marker).collect()
    }

    /// The earliest time that was asked for in the submit of this marker.
    pub fn asked_run_at(&self, marker: &str) -> Option<i64> {
        self.history.calls.iter().find_map(|call| match &call.op {
            Op::Submit { marker: asked, run_at, .. } if asked == marker => *run_at,
            _ => None,
        })
    }

    /// When an attempt's lease ends, as far as it was extended by `not_after`.
    pub fn lease_end(&self, attempt: &AttemptRow, not_after: i64) -> Option<i64> {
        let own = self.leases.get(&(attempt.job.as_str(), attempt.token.as_str()))?;
        let told = if own.by_worker { self.beats.get(attempt.worker.as_str())? } else { &own.told };
        let mut known = told.iter().filter(|(at, _)| *at <= not_after).map(|(_, until)| *until);
        // A worker that left has a lease that ended; one lease is only ever extended.
        if own.by_worker { known.next_back() } else { known.max() }
    }

    /// How far stamps may be beside each other.
    pub const fn slack(&self) -> i64 {
        self.history.run.clock_slack_us
    }

    /// How much longer than usual recovery may take from `from` to `to`: an
    /// outage in that time, with one lease of grace after it, and the time in
    /// which there was no engine.
    pub fn outages_within(&self, from: i64, to: i64) -> i64 {
        let grace = self.history.run.lease_us;
        let longer = self.history.faults.iter().map(|fault| match fault {
            Fault::Outage { from: began, to: ended } => {
                let overlap = (ended + grace).min(to) - (*began).max(from);
                overlap.max(0)
            }
            Fault::NoEngine { from: began, to: ended } => {
                let overlap = (*ended).min(to) - (*began).max(from);
                overlap.max(0)
            }
        });
        longer.sum()
    }
}

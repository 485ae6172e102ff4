//! The simulation, run over many seeds, and shown to see what it is there to see.
//!
//! `TASKFLOW_SIM_SEEDS` says how many seeds, `TASKFLOW_SIM_FROM` which one is the
//! first, `TASKFLOW_SIM_TRACE=1` prints all that happened in the first failing one.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use taskflow_tests::planted::Bug;
use taskflow_tests::process::variable;
use taskflow_tests::sim::{Plan, Report, run, shrink};

/// How many seeds the ordinary test command runs.
const SEEDS: u64 = 2_000;
/// How many seeds may pass before a planted defect must have been seen.
const PATIENCE: u64 = 400;

fn number(name: &str, otherwise: u64) -> u64 {
    variable(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn simulate(seed: u64, bug: Option<Bug>) -> Report {
    run(Plan::new(seed), bug, false).unwrap()
}

/// Does `work` for each of these, on all processors, until it says that it
/// is enough.
fn for_each<T>(items: impl Iterator<Item = T> + Send, work: impl Fn(T) -> bool + Sync) {
    let threads = thread::available_parallelism().map_or(2, NonZero::get);
    let (items, enough) = (Mutex::new(items), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !enough.load(Ordering::SeqCst) {
                    let Some(item) = items.lock().unwrap().next() else { return };
                    if work(item) {
                        enough.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
    });
}

/// What many runs came to.
#[derive(Default)]
struct Total {
    seeds: u64,
    lasted_ms: u64,
    steps: u64,
    jobs: u64,
    attempts: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.lasted_ms += report.lasted_ms;
        self.steps += report.steps;
        self.jobs += report.history.jobs.len() as u64;
        self.attempts += report.history.attempts.len() as u64;
        for (what, count) in &report.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }

    fn print(&self) {
        println!("report: simulated seeds | {}", self.seeds);
        println!("report: simulated hours | {:.1}", self.lasted_ms as f64 / 3_600_000.0);
        println!("report: steps | {}", self.steps);
        println!("report: jobs | {}", self.jobs);
        println!("report: attempts | {}", self.attempts);
        for (what, count) in &self.counts {
            println!("report: {what} | {count}");
        }
    }
}

/// Says what failed, and how little of it is needed.
fn explain(plan: &Plan, report: &Report) -> String {
    let (seed, rule) = (plan.seed, report.violations[0].rule);
    let small = shrink(plan, None, rule);
    let again = run(small.clone(), None, variable("TASKFLOW_SIM_TRACE").is_some()).unwrap();
    for line in again.lines.iter().flatten() {
        println!("{line}");
    }
    let lines = |report: &Report| {
        report.violations.iter().take(10).map(|it| format!("  {it}")).collect::<Vec<_>>().join("\n")
    };
    format!(
        "seed {seed} is wrong:\n{}\nshrunk to {} nodes, {} pulling workers, {:#?}\n{:#?}\nwhich gives:\n{}\n\
         Add the seed to tests/seeds/regress.txt.",
        lines(report),
        small.nodes,
        small.remotes,
        small.actions,
        small.troubles,
        lines(&again),
    )
}

fn all_are_right(plans: impl Iterator<Item = Plan> + Send) -> Total {
    let total = Mutex::new(Total::default());
    let wrong: Mutex<Vec<(Plan, Report)>> = Mutex::default();
    for_each(plans, |plan| {
        let report = run(plan.clone(), None, false).unwrap();
        total.lock().unwrap().add(&report);
        let bad = !report.violations.is_empty();
        if bad {
            wrong.lock().unwrap().push((plan, report));
        }
        bad
    });
    if let Some((plan, report)) = wrong.into_inner().unwrap().first() {
        panic!("{}", explain(plan, report));
    }
    total.into_inner().unwrap()
}

#[test]
fn every_seed_is_right() {
    let from = number("TASKFLOW_SIM_FROM", 0);
    all_are_right((from..from + number("TASKFLOW_SIM_SEEDS", SEEDS)).map(Plan::new)).print();
}

#[test]
fn seeds_that_failed_once_stay_right() {
    let text = include_str!("../seeds/regress.txt");
    let seeds = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split_whitespace();
        let seed: u64 = words.next()?.parse().unwrap();
        Some(if words.next() == Some("jobs") { Plan::of_jobs(seed) } else { Plan::new(seed) })
    });
    let total = all_are_right(seeds);
    println!("report: seeds kept because they failed once | {}", total.seeds);
}

#[test]
fn a_seed_is_always_the_same_run() {
    let differing: Mutex<BTreeSet<u64>> = Mutex::default();
    for_each(0..100, |seed| {
        let (one, other) = (simulate(seed, None), simulate(seed, None));
        if one.trace != other.trace || one.history != other.history {
            differing.lock().unwrap().insert(seed);
        }
        false
    });
    let differing = differing.into_inner().unwrap();
    assert!(differing.is_empty(), "these seeds are not always the same run: {differing:?}");
    println!("report: seeds run twice with one trace | 100 of 100");
}

#[test]
fn every_planted_bug_is_caught() {
    let mut escaped = Vec::new();
    for bug in Bug::ALL {
        let tried = AtomicU64::new(0);
        let caught: Mutex<BTreeMap<u64, BTreeSet<&str>>> = Mutex::default();
        for_each(0..PATIENCE, |seed| {
            let rules: BTreeSet<_> =
                simulate(seed, Some(bug)).violations.iter().map(|violation| violation.rule).collect();
            tried.fetch_add(1, Ordering::SeqCst);
            let seen = !rules.is_empty();
            if seen {
                caught.lock().unwrap().insert(seed, rules);
            }
            seen
        });
        match caught.into_inner().unwrap().first_key_value() {
            Some((seed, rules)) => {
                let rules: Vec<_> = rules.iter().copied().collect();
                println!("report: planted {bug:?} | simulation, seed {seed} | {}", rules.join(", "));
            }
            None => escaped.push(bug),
        }
    }
    assert!(escaped.is_empty(), "nobody saw {escaped:?} in {PATIENCE} seeds");
}

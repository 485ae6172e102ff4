//! Conformance: the same random steps on every store bring the same answers.
//!
//! A sequence of [`plan::Step`]s is drawn and shrunk by proptest. Each step is
//! made concrete on the stores in memory ([`resolve`]): which job, which lease,
//! which change. Then every store does exactly that, and must answer and show
//! the same. What the contract leaves open, such as which of two tenants is
//! served first, no step asks for.
//!
//! The last test holds the model against itself with a defect, to show that the
//! comparison would see it.
//!
//! `PROPTEST_CASES` and `PROPTEST_RNG_SEED` ask for more, or other, sequences.

mod apply;
mod plan;
mod resolve;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use taskflow_adapters::store::postgres::PostgresOptions;
use taskflow_adapters::store::sqlite::{SqliteOptions, SqliteStore};
use taskflow_application::memory::MemoryStore;
use taskflow_application::ports::Stores;
use taskflow_tests::planted::{Bug, plant};

use apply::{observe, perform};
use plan::Step;
use resolve::{Command, World};

/// Steps after which everything is compared, besides the end.
const OBSERVE_EVERY: usize = 6;
/// Sequences that a planted defect may survive.
const PATIENCE: u32 = 8;
/// How many of the planted defects must be seen.
const SEEN: usize = 10;

/// A store under test. The first is the model.
struct Subject {
    name: &'static str,
    stores: Stores,
    #[expect(dead_code, reason = "it lives as long as its store")]
    keep: Box<dyn Send>,
}

/// Which store is held against the model.
#[derive(Clone, Copy, Debug)]
enum Other {
    Sqlite,
    Postgres,
    /// The model with a defect.
    Planted(Bug),
}

async fn subjects(other: Other) -> anyhow::Result<[Subject; 2]> {
    let model = Subject { name: "memory", stores: MemoryStore::stores(), keep: Box::new(()) };
    let other = match other {
        Other::Planted(bug) => {
            let stores = plant(MemoryStore::stores(), Some(bug));
            Subject { name: "the defect", stores, keep: Box::new(()) }
        }
        Other::Sqlite => {
            let store = SqliteStore::connect("sqlite::memory:", SqliteOptions::default()).await?;
            store.migrate().await?;
            Subject { name: "SQLite", stores: store.stores(), keep: Box::new(()) }
        }
        Other::Postgres => {
            let options = PostgresOptions { max_connections: 3, ..PostgresOptions::default() };
            let (store, database) = crate::postgres::open(options).await?;
            Subject { name: "PostgreSQL", stores: store.stores(), keep: Box::new((store, database)) }
        }
    };
    Ok([model, other])
}

/// How much was done, so that nobody trusts a test in which nothing happens.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    started: usize,
    /// Of these, with leases that last as long as their worker is heard of.
    bound: usize,
    changed: usize,
}

/// Does the steps on all subjects; the first difference is the error.
async fn run(other: Other, steps: &[Step]) -> anyhow::Result<Tally> {
    let subjects = subjects(other).await?;
    let mut world = World::begin(&subjects).await?;
    let mut tally = Tally::default();
    for (number, step) in steps.iter().enumerate() {
        let command = world.resolve(&subjects[0].stores, step).await?;
        let (mut answers, mut leases) = (Vec::new(), Vec::new());
        for subject in &subjects {
            let (answer, given) = perform(&subject.stores, &command).await?;
            answers.push(answer);
            leases.push(given);
        }
        compare(&subjects, &answers, &format!("step {number}: {command:?}"))?;
        tally.started += leases[0].len();
        if matches!(&command, Command::Claim(request) if request.lease_until.is_none()) {
            tally.bound += leases[0].len();
        }
        tally.changed += answers[0].matches("Done").count();
        world.remember(leases.swap_remove(0));
        if number % OBSERVE_EVERY == 0 || number + 1 == steps.len() {
            let mut sights = Vec::new();
            for subject in &subjects {
                sights.push(observe(&subject.stores, &world).await?);
            }
            for index in 0..sights[0].len() {
                let part = |sight: &Vec<String>| sight.get(index).cloned().unwrap_or_default();
                let sight: Vec<_> = sights.iter().map(part).collect();
                compare(&subjects, &sight, &format!("after step {number}: {command:?}"))?;
            }
        }
    }
    Ok(tally)
}

/// What a kind costs is an estimate. In which order the ends of one commit move
/// it is left open, and so is what follows from it.
fn without_charges(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("charged_us: ")).collect();
    lines.join("\n")
}

/// The first answer is the model's; of another one, the lines that differ.
fn compare(subjects: &[Subject], answers: &[String], when: &str) -> anyhow::Result<()> {
    let model = without_charges(&answers[0]);
    for (subject, answer) in subjects.iter().zip(answers).skip(1) {
        let answer = &without_charges(answer);
        if *answer == model {
            continue;
        }
        let without = |text: &str, other: &str| {
            let lines: Vec<_> =
                text.lines().filter(|line| !other.lines().any(|known| known == *line)).collect();
            lines.join("\n    ")
        };
        anyhow::bail!(
            "{when}\n  only {}:\n    {}\n  only {}:\n    {}\n  the model:\n{}",
            subjects[0].name,
            without(&model, answer),
            subject.name,
            without(answer, &model),
            model,
        );
    }
    Ok(())
}

/// Runs sequences; without a wish for others, always the same `cases`.
fn agree(other: Other, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut config = Config { failure_persistence: None, max_shrink_iters: 150, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(20_260_101);
        config.cases = cases;
    }
    let steps = proptest::collection::vec(plan::steps(), 20..120);
    let (started, bound, changed) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let run_of = Cell::new(0_u32);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        let tally = runtime.block_on(run(other, &steps));
        let tally = tally.map_err(|difference| TestCaseError::fail(format!("{difference:#}")))?;
        run_of.set(run_of.get() + 1);
        started.set(started.get() + tally.started);
        bound.set(bound.get() + tally.bound);
        changed.set(changed.get() + tally.changed);
        Ok(())
    });
    if let Err(difference) = outcome {
        panic!("{difference}");
    }
    let (started, bound, changed) = (started.get(), bound.get(), changed.get());
    println!(
        "report: sequences on memory and {other:?} with equal answers | {} ({started} attempts, of which {bound} with \
         a lease that hangs on heartbeats; {changed} changes)",
        run_of.get()
    );
    let few = 5 * cases as usize;
    assert!(started > few && bound > few / 5 && changed > few, "{started}, {bound} and {changed}");
}

/// How many sequences it takes until somebody sees the defect, and what is seen.
fn sequences_to_see(bug: Bug) -> Option<(u32, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 0,
        cases: PATIENCE,
        rng_seed: RngSeed::Fixed(20_260_101),
        ..Config::default()
    };
    let steps = proptest::collection::vec(plan::steps(), 20..120);
    let (run_of, seen) = (Cell::new(0_u32), RefCell::new(String::new()));
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        run_of.set(run_of.get() + 1);
        let Err(difference) = runtime.block_on(run(Other::Planted(bug), &steps)) else { return Ok(()) };
        let text = difference.to_string();
        let mut words = text.split(|c: char| !c.is_alphanumeric());
        let step = words.find(|word| word.starts_with(char::is_uppercase)).unwrap_or("a step, refused");
        seen.replace(step.to_owned());
        Err(TestCaseError::fail(text))
    });
    outcome.is_err().then(|| (run_of.get(), seen.take()))
}

/// The other defects are of what sequences of store operations have no part in:
/// time, processes, rules.
#[test]
fn planted_bugs_are_seen() {
    let bugs = Mutex::new(Bug::ALL.into_iter());
    let seen = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(bug) = { bugs.lock().unwrap().next() } {
                    seen.lock().unwrap().extend(sequences_to_see(bug).map(|found| (bug, found)));
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    for (bug, (sequence, step)) in &seen {
        println!("report: planted {bug:?} | conformance, sequence {sequence} | after {step}");
    }
    assert!(seen.len() >= SEEN, "only {:?} are seen", seen.keys());
}

#[test]
fn sqlite_agrees() {
    agree(Other::Sqlite, 30);
}

#[test]
fn postgres_agrees() {
    agree(Other::Postgres, 10);
}

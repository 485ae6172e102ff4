//! Conformance: the same random steps on every store bring the same answers.
//!
//! A sequence of [`plan::Step`]s is drawn and shrunk by proptest. Each step is
//! made concrete on the stores in memory ([`resolve`]): which job, which lease,
//! which change. Then every store does exactly that, and must answer and show
//! the same. What the contract leaves open, such as which of two tenants is
//! served first, no step asks for.
//!
//! `PROPTEST_CASES` and `PROPTEST_RNG_SEED` ask for more, or other, sequences.

mod apply;
mod plan;
mod resolve;

use std::cell::Cell;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use taskflow_adapters::store::postgres::PostgresOptions;
use taskflow_adapters::store::sqlite::{SqliteOptions, SqliteStore};
use taskflow_application::memory::MemoryStore;
use taskflow_application::ports::Stores;

use apply::{observe, perform};
use plan::Step;
use resolve::World;

/// Steps after which everything is compared, besides the end.
const OBSERVE_EVERY: usize = 6;

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
}

async fn subjects(other: Other) -> anyhow::Result<[Subject; 2]> {
    let model = Subject { name: "memory", stores: MemoryStore::stores(), keep: Box::new(()) };
    let other = match other {
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
    let (started, changed, run_of) = (Cell::new(0), Cell::new(0), Cell::new(0_u32));
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        let tally = runtime.block_on(run(other, &steps));
        let tally = tally.map_err(|difference| TestCaseError::fail(format!("{difference:#}")))?;
        run_of.set(run_of.get() + 1);
        started.set(started.get() + tally.started);
        changed.set(changed.get() + tally.changed);
        Ok(())
    });
    if let Err(difference) = outcome {
        panic!("{difference}");
    }
    let (started, changed) = (started.get(), changed.get());
    println!(
        "report: sequences on memory and {other:?} with equal answers | {} ({started} attempts, {changed} changes)",
        run_of.get()
    );
    assert!(started > 5 * cases as usize && changed > 5 * cases as usize, "{started} and {changed}");
}

#[test]
fn sqlite_agrees() {
    agree(Other::Sqlite, 30);
}

#[test]
fn postgres_agrees() {
    agree(Other::Postgres, 10);
}

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

async fn subjects() -> anyhow::Result<Vec<Subject>> {
    let (postgres, database) =
        crate::postgres::open(PostgresOptions { max_connections: 3, ..PostgresOptions::default() }).await?;
    let sqlite = SqliteStore::connect("sqlite::memory:", SqliteOptions::default()).await?;
    sqlite.migrate().await?;
    Ok(vec![
        Subject { name: "memory", stores: MemoryStore::stores(), keep: Box::new(()) },
        Subject { name: "SQLite", stores: sqlite.stores(), keep: Box::new(()) },
        Subject { name: "PostgreSQL", stores: postgres.stores(), keep: Box::new((postgres, database)) },
    ])
}

/// Does the steps on all subjects; the first difference is the error.
async fn run(steps: &[Step]) -> anyhow::Result<()> {
    let subjects = subjects().await?;
    let mut world = World::begin(&subjects).await?;
    for (number, step) in steps.iter().enumerate() {
        let command = world.resolve(&subjects[0].stores, step).await?;
        let (mut answers, mut leases) = (Vec::new(), Vec::new());
        for subject in &subjects {
            let (answer, given) = perform(&subject.stores, &command).await?;
            answers.push(answer);
            leases.push(given);
        }
        compare(&subjects, &answers, &format!("step {number}: {command:?}"))?;
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
    Ok(())
}

/// The first answer is the model's; of another one, the lines that differ.
fn compare(subjects: &[Subject], answers: &[String], when: &str) -> anyhow::Result<()> {
    for (subject, answer) in subjects.iter().zip(answers).skip(1) {
        if *answer == answers[0] {
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
            without(&answers[0], answer),
            subject.name,
            without(answer, &answers[0]),
            answers[0],
        );
    }
    Ok(())
}

#[test]
fn all_stores_agree() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut config = Config { failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    if config.rng_seed == RngSeed::Random {
        // Without a wish, every run is the same run.
        config.rng_seed = RngSeed::Fixed(20_260_101);
        config.cases = config.cases.min(40);
    }
    let steps = proptest::collection::vec(plan::steps(), 1..80);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        runtime.block_on(run(&steps)).map_err(|difference| TestCaseError::fail(format!("{difference:#}")))
    });
    if let Err(difference) = outcome {
        panic!("{difference}");
    }
}

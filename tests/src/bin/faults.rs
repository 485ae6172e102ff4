//! Does one thing to a running engine that must not hurt it, and has the checker
//! judge what came of it: `scripts/faults NAME` builds and runs it.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use taskflow_tests::postgres::fresh_database;
use taskflow_tests::{faults, schedulers};

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let name = words.first().map_or("", String::as_str);
    match run(name, &words[words.len().min(1)..]).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("there is no {name}: see scripts/faults --help");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("{name} FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether there is such a scenario.
async fn run(name: &str, words: &[String]) -> Result<bool> {
    let number = |index: usize, fallback: u32| {
        words
            .get(index)
            .map_or(Ok(fallback), |word| word.parse().with_context(|| format!("{word}: a number")))
    };
    match name {
        "backends" => faults::backends::run_all(number(0, 20)?).await?,
        "clock-jump" => faults::clock_jump::run().await?,
        "disk-full" => {
            faults::disk_full::sqlite().await?;
            faults::disk_full::postgres().await?;
        }
        "failover" => faults::failover::run(number(0, 1)?).await?,
        "power-cut" => {
            faults::power_cut::sqlite(number(0, 20)?).await?;
            faults::power_cut::postgres(number(0, 20)?).await?;
        }
        "schedulers" => {
            let (rules, seconds, idle) = (number(0, 1_000)?, number(1, 60)?, number(2, 0)?);
            let plan = schedulers::Plan { rules, seconds: seconds.into(), idle };
            let database = fresh_database().await?;
            schedulers::run(&database.url, plan).await?.print(plan);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

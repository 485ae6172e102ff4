//! Does one thing to a running engine that must not hurt it, and has the checker
//! judge what came of it: `scripts/chaos <name>` builds and runs it.

use std::process::ExitCode;

use anyhow::Result;
use taskflow_tests::faults;

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let name = words.first().map_or("", String::as_str);
    let number = words.get(1).and_then(|word| word.parse().ok());
    match run(name, number).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("usage: scripts/chaos <name> [number]\n{NAMES}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("{name} FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

const NAMES: &str = "\
disk-full            the disk of SQLite, then of PostgreSQL, is full and has room again
power-cut [cuts]     the power fails under SQLite, then under PostgreSQL
backends [cycles]    PostgreSQL's sessions, one of its processes, all of it die
failover [times]     PostgreSQL's primary is killed, frozen, cut off; its standby takes over
clock-jump           the clock of one worker jumps by weeks";

/// Whether there is such a scenario.
async fn run(name: &str, number: Option<u32>) -> Result<bool> {
    match name {
        "disk-full" => {
            faults::disk_full::sqlite().await?;
            faults::disk_full::postgres().await?;
        }
        "power-cut" => {
            faults::power_cut::sqlite(number.unwrap_or(20)).await?;
            faults::power_cut::postgres(number.unwrap_or(20)).await?;
        }
        "backends" => faults::backends::run_all(number.unwrap_or(20)).await?,
        "failover" => faults::failover::run(number.unwrap_or(1)).await?,
        "clock-jump" => faults::clock_jump::run().await?,
        _ => return Ok(false),
    }
    Ok(true)
}

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
cuts [step]          the connection is cut at every step-th byte of a submit
weather [seconds]    the connection is reset, comes to a trickle, is late, falls silent
wakeups              the listener dies, and notifications never come
failover [times]     PostgreSQL's primary is killed, frozen, cut off; its standby takes over
freeze [times]       a worker freezes for longer than its lease
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
        "cuts" => faults::cuts::every_byte(number.unwrap_or(16).max(1).into()).await?,
        "weather" => {
            let time = std::time::Duration::from_secs(number.unwrap_or(15).into());
            faults::cuts::bad_weather(time).await?;
        }
        "wakeups" => faults::wakeups::run().await?,
        "failover" => faults::failover::run(number.unwrap_or(1)).await?,
        "freeze" => faults::stall::freezes(number.unwrap_or(20)).await?,
        "clock-jump" => faults::stall::clock_jumps().await?,
        _ => return Ok(false),
    }
    Ok(true)
}

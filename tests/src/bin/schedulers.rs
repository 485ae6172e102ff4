//! Five processes fire rules of every second on a fresh database, one is killed
//! and one is frozen: `schedulers [rules] [seconds] [idle rules]`.

use anyhow::{Context as _, Result};
use taskflow_tests::postgres::fresh_database;
use taskflow_tests::schedulers::{Plan, run};

#[tokio::main]
async fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u32>().context("a number"));
    let mut next = |fallback: u32| numbers.next().unwrap_or(Ok(fallback));
    let plan = Plan { rules: next(1_000)?, seconds: u64::from(next(60)?), idle: next(0)? };
    let database = fresh_database().await?;
    let seen = run(&database.url, plan).await?;
    let [median, most, longest] = seen.late_ms;
    let [done, slow, slowest] = seen.done_ms;
    println!(
        "{plan:?}: {} occurrences, each fired once; late by {median:.0} ms (median), {most:.0} ms (p99), {longest:.0} ms (most); \
         all of a second committed after {done:.0} ms (median), {slow:.0} ms (p90), {slowest:.0} ms (most)",
        seen.occurrences
    );
    Ok(())
}

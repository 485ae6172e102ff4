//! Measures the engine beside plain SQL: `scripts/bench` builds and runs it.
//!
//! `yardstick drain|submit|batch [jobs] [tenants] [rounds]` prints a Markdown
//! table, a row for each round, and the median. `yardstick noisy [backlog]` and
//! `yardstick cost` measure fairness and cost of claims; `yardstick capped [backlog]` what a
//! tenant at its running limit costs the others over HTTP; `yardstick apart [jobs]`
//! measures two processes with HTTP before them; `yardstick sqlite [jobs] [batch]`
//! measures the whole life of jobs on SQLite; `yardstick history [millions]` measures
//! what lists and operators' looks cost over so many ended jobs. The server is a
//! private one with all the care for durability of a production server.

use anyhow::{Context, Result, bail};
use taskflow_tests::postgres::{Cluster, create_database};
use taskflow_tests::yardstick::claims::{self, Point};
use taskflow_tests::yardstick::{EngineRun, apart, capped, engine, history, lite, plain};

/// What a server of this size would be given.
const SETTINGS: &str = "shared_buffers = 2GB\nmax_wal_size = 8GB\ncheckpoint_timeout = 30min\n";
/// The same for what only looks: its history is written at once and never again.
const LOOKS: &str = "shared_buffers = 2GB\nmax_wal_size = 1GB\nfsync = off\nfull_page_writes = off\n";
const BATCH: u32 = 1_000;
const PAYLOAD: &str = r#"{"text":"xxxxxxxxxxxxxxxx"}"#;

/// The sizes of a measurement.
struct Size {
    jobs: u32,
    tenants: u32,
    rounds: u32,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let what = words
        .next()
        .context("say what: drain, submit, batch, noisy, capped, cost, apart, sqlite or history")?;
    if what == "sqlite" {
        let mut number = |default: u32| words.next().map_or(Ok(default), |word| word.parse());
        return sqlite(number(50_000)?, number(100)?).await;
    }
    if what == "history" {
        let millions = words.next().map_or(Ok(10), |word| word.parse())?;
        return history::measure(&Cluster::durable_with(LOOKS)?, millions).await;
    }
    let cluster = Cluster::durable_with(SETTINGS)?;
    match what.as_str() {
        "noisy" => {
            return noisy(&cluster, words.next().map_or(Ok(1_000_000), |word| word.parse())?).await;
        }
        "capped" => {
            return at_its_limit(&cluster, words.next().map_or(Ok(100_000), |word| word.parse())?).await;
        }
        "cost" => return cost(&cluster).await,
        "apart" => {
            return two_processes(&cluster, words.next().map_or(Ok(50_000), |word| word.parse())?).await;
        }
        _ => {}
    }
    let mut number = |default: u32| words.next().map_or(Ok(default), |word| word.parse());
    let size = match what.as_str() {
        "drain" => Size { jobs: number(1_000_000)?, tenants: number(10_000)?, rounds: number(1)? },
        "submit" => Size { jobs: number(50_000)?, tenants: number(100)?, rounds: number(3)? },
        "batch" => Size { jobs: number(50_000)?, tenants: number(1)?, rounds: number(3)? },
        other => bail!("there is no measurement {other}"),
    };
    println!(
        "| round | plain SQL, jobs/s | TaskFlow, jobs/s | ratio | WAL plain | WAL | RSS MB | pick-up ms p50 / p99 |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    for round in 1..=size.rounds {
        ratios.push(one_round(&cluster, &what, &size, round).await?);
    }
    ratios.sort_by(f64::total_cmp);
    println!("\nmedian ratio {:.2}", ratios[ratios.len() / 2]);
    Ok(())
}

/// A thousand tenants with ten jobs each come after one with `backlog`.
async fn noisy(cluster: &Cluster, backlog: u32) -> Result<()> {
    println!(
        "| batch | claimed until the small ones were done | ideal | ratio | seconds |\n|---|---|---|---|---|"
    );
    for batch in [100, 1_000] {
        let database = create_database(&cluster.url()).await?;
        let seen = claims::noisy(&database.url, backlog, 1_000, 10, batch).await?;
        let ratio = seen.claimed as f64 / seen.ideal as f64;
        println!("| {batch} | {} | {} | {ratio:.3} | {:.3} |", seen.claimed, seen.ideal, seen.seconds);
    }
    Ok(())
}

/// Others work beside a tenant that runs as many jobs as it may and has `backlog` more.
async fn at_its_limit(cluster: &Cluster, backlog: usize) -> Result<()> {
    let database = create_database(&cluster.url()).await?;
    let seen = capped::capped(&database.url, backlog).await?;
    println!("| the others | start after ms p50 / p95 / p99 | drained, jobs/s |\n|---|---|---|");
    for (when, others) in &seen.rounds {
        let [median, most, longest] = others.start_ms;
        println!("| {when} | {median:.2} / {most:.2} / {longest:.2} | {:.0} |", others.drained_per_s);
    }
    let (asked, named) = seen.explained;
    println!(
        "\n{named} of {asked} waiting jobs name the limit; {:.0} answers a second",
        seen.explained_per_s
    );
    if named < asked {
        bail!("{} jobs do not say why they wait", asked - named)
    }
    Ok(())
}

/// One process takes jobs from 20 callers over HTTP; then another one picks up
/// jobs that meet an idle system.
async fn two_processes(cluster: &Cluster, jobs: u32) -> Result<()> {
    println!(
        "| round | submits over HTTP/s | from one process to the other, ms p50 / p95 / p99 |\n|---|---|---|"
    );
    for round in 1..=3 {
        let database = create_database(&cluster.url()).await?;
        let seen = apart::apart(&database.url, jobs, 20).await?;
        let [median, most, longest] = seen.pickup_ms;
        println!("| {round} | {:.0} | {median:.2} / {most:.2} / {longest:.2} |", seen.submits_per_s);
    }
    Ok(())
}

/// The whole life of jobs in one file: submitted, claimed, ended, `batch` at a time.
async fn sqlite(jobs: u32, batch: u32) -> Result<()> {
    println!("| round | plain SQL, jobs/s | TaskFlow, jobs/s | ratio | RSS MB | pick-up ms p50 / p99 |");
    println!("|---|---|---|---|---|---|");
    let tenants = jobs.div_ceil(batch);
    for round in 1..=3 {
        let place = tempfile::tempdir()?;
        let plain = lite::lifecycle(&place.path().join("plain.db"), jobs, tenants, batch).await?;
        let url = format!("sqlite://{}", place.path().join("engine.db").display());
        let run = EngineRun { url: &url, jobs, tenants, enqueue: "batch", callers: 1, batch };
        let ours = engine(&run).await?;
        let rate = |part: &str| ours[part]["jobs_per_s"].as_f64().context("no rate");
        let whole = 1.0 / (1.0 / rate("enqueue")? + 1.0 / rate("drain")?);
        println!(
            "| {round} | {plain:.0} | {whole:.0} | {:.2} | {} | {} / {} |",
            whole / plain,
            ours["rss_mb"],
            ours["pickup_ms"]["p50"],
            ours["pickup_ms"]["p99"],
        );
    }
    Ok(())
}

/// A claim of a hundred jobs over numbers of tenants, of jobs, and of held tenants.
async fn cost(cluster: &Cluster) -> Result<()> {
    println!("| tenants | backlog | held tenants | p50 ms for 100 jobs | buffers |\n|---|---|---|---|---|");
    for (tenants, backlog, blocked) in [
        (1, 10_000, 0),
        (1, 1_000_000, 0),
        (100, 1_000_000, 0),
        (10_000, 1_000_000, 0),
        (100, 100_000, 9_900),
    ] {
        let database = create_database(&cluster.url()).await?;
        let cost = claims::cost(&database.url, Point { tenants, backlog, blocked }).await?;
        println!("| {tenants} | {backlog} | {blocked} | {:.2} | {} |", cost.p50_ms, cost.buffers);
    }
    Ok(())
}

/// Plain SQL first in odd rounds, the engine first in even ones.
async fn one_round(cluster: &Cluster, what: &str, size: &Size, round: u32) -> Result<f64> {
    let (plain, ours) = if round % 2 == 1 {
        let plain = plain_rate(cluster, what, size).await?;
        (plain, engine_figures(cluster, what, size).await?)
    } else {
        let ours = engine_figures(cluster, what, size).await?;
        (plain_rate(cluster, what, size).await?, ours)
    };
    let part = if what == "drain" { "drain" } else { "enqueue" };
    let rate = ours[part]["jobs_per_s"].as_f64().context("no rate")?;
    println!(
        "| {round} | {:.0} | {rate:.0} | {:.2} | {} | {} | {} | {} / {} |",
        plain.0,
        rate / plain.0,
        plain.1.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
        ours["wal_bytes_per_job"],
        ours["rss_mb"],
        ours["pickup_ms"]["p50"],
        ours["pickup_ms"]["p99"],
    );
    Ok(rate / plain.0)
}

/// Jobs per second of plain SQL, and log bytes a job where they are of the same work.
async fn plain_rate(cluster: &Cluster, what: &str, size: &Size) -> Result<(f64, Option<i64>)> {
    let database = create_database(&cluster.url()).await?;
    let url = &database.url;
    plain::create(url, size.tenants).await?;
    match what {
        "drain" => {
            plain::enqueue(url, size.jobs, size.tenants, 5_000, PAYLOAD).await?;
            plain::settle_down(url).await?;
            let (rate, wal) = plain::drain(url, 2, BATCH).await?;
            Ok((rate, Some(wal)))
        }
        "submit" => Ok((plain::enqueue_coalesced(url, size.jobs, size.tenants, 20, PAYLOAD).await?, None)),
        _ => Ok((plain::enqueue(url, size.jobs, size.tenants, 5_000, PAYLOAD).await?, None)),
    }
}

async fn engine_figures(cluster: &Cluster, what: &str, size: &Size) -> Result<serde_json::Value> {
    let database = create_database(&cluster.url()).await?;
    let (enqueue, callers) = match what {
        "drain" => ("batch", 2),
        "submit" => ("single", 20),
        _ => ("batch", 1),
    };
    let run = EngineRun {
        url: &database.url,
        jobs: size.jobs,
        tenants: size.tenants,
        enqueue,
        callers,
        batch: BATCH,
    };
    engine(&run).await
}

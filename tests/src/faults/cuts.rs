//! The connection between the engine and PostgreSQL is cut at every byte of a
//! submit, and suffers everything else that connections suffer.
//!
//! A client that is not told what became of its request repeats it with its key,
//! and there is one job.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use taskflow_checker::history::{Call, Known, Op};
use tokio::time::Instant;

use super::load::{Load, Plan, noop};
use super::site::Site;
use super::wire::{Cut, Way, Weather, Wire};
use super::{now_us, pause};
use crate::postgres::{Cluster, Database, create_database};
use crate::process::{Launch, Process};

const LEASE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_mins(1);
const RESUMES: Duration = Duration::from_secs(10);

/// An API whose connections to the server go through a proxy, and a worker
/// that has a good one.
struct Stage {
    site: Site,
    wire: Wire,
    _worker: Process,
    _database: Database,
    _server: Cluster,
}

impl Stage {
    async fn new(connections: u32) -> Result<Self> {
        let server = Cluster::durable()?;
        let database = create_database(&server.url()).await?;
        let wire = Wire::before(server.port()).await?;
        let worker = Launch::new(["worker"]).env("DATABASE_URL", &database.url).env("RUST_LOG", "warn");
        let worker = worker.start().await?;
        let launch = Launch::new(["api"])
            .env("DATABASE_URL", &wire.url(&database.url))
            .env("TASKFLOW_DATABASE_CONNECTIONS", &connections);
        let site = Site::start(&database.url, launch, LEASE).await?;
        Ok(Self { site, wire, _worker: worker, _database: database, _server: server })
    }

    async fn end(mut self, load: Load, name: &str) -> Result<()> {
        self.site.finish(load).await?;
        self.site.settle(PATIENCE).await?;
        self.site.judge(name).await?;
        Ok(())
    }

    /// Submits one job, again and again until it is known what became of it; how
    /// many requests that took.
    async fn submit(&mut self, marker: &str) -> Result<u32> {
        let mut body = noop();
        body["payload"] = json!({"marker": marker});
        let until = Instant::now() + PATIENCE;
        let mut tries = 0;
        loop {
            tries += 1;
            let invoked_at = now_us();
            let answer = self.site.client.post("/v1/jobs", Some(marker), &body).await;
            let status = answer.as_ref().map_or(0, |(status, _)| *status);
            let job = answer.ok().and_then(|(_, body)| body["id"].as_str().map(str::to_owned));
            let known = if matches!(status, 200 | 201) { Known::Ok } else { Known::Unknown };
            let op = Op::Submit {
                tenant: "default".to_owned(),
                marker: marker.to_owned(),
                key: Some(marker.to_owned()),
                run_at: None,
                job: job.filter(|_| known == Known::Ok),
            };
            self.site.history.calls.push(Call { invoked_at, returned_at: now_us(), known, op });
            match status {
                200 | 201 => return Ok(tries),
                0 | 409 | 503 => {}
                _ => anyhow::bail!("{marker} was answered with {status}"),
            }
            ensure!(Instant::now() < until, "{marker} was never accepted");
            pause(Duration::from_millis(10)).await;
        }
    }
}

/// Cuts at every `step`-th byte of a submit, each way, and around its COMMIT.
pub async fn every_byte(step: u64) -> Result<()> {
    let mut stage = Stage::new(2).await?;
    stage.submit("warm").await?;
    stage.wire.cut(None);
    stage.wire.reset_all();
    stage.submit("measured").await?;
    let (up, down) = stage.wire.passed();
    let mut cuts = vec![Cut::BeforeCommit, Cut::AfterCommit];
    for (way, bytes) in [(Way::Up, up), (Way::Down, down)] {
        cuts.extend((0..bytes).step_by(step as usize).map(|at| Cut::Bytes(way, at)));
        cuts.extend((0..bytes).step_by(8 * step as usize).map(|at| Cut::HalfClose(way, at)));
    }
    let (mut met, mut repeats) = (0, 0);
    for (number, cut) in cuts.iter().enumerate() {
        stage.wire.cut(Some(*cut));
        let tries = stage.submit(&format!("cut-{number}")).await.with_context(|| format!("{cut:?}"))?;
        met += u32::from(!stage.wire.is_armed());
        repeats += tries - 1;
        stage.wire.cut(None);
    }
    println!(
        "  {} cuts over {up} bytes up and {down} down, {met} of them met, {repeats} requests repeated",
        cuts.len()
    );
    stage.site.settle(PATIENCE).await?;
    let figures = stage.site.judge("cut at every byte").await?;
    ensure!(figures.jobs == cuts.len() + 2, "{} jobs of {} submits", figures.jobs, cuts.len() + 2);
    Ok(())
}

/// All connections are reset, come to a trickle, are late, or fall silent under load.
pub async fn bad_weather(time: Duration) -> Result<()> {
    let stage = Stage::new(10).await?;
    let load = Load::start(&stage.site.client, Plan::default());
    load.accepts(50, PATIENCE).await?;
    for _ in 0..20 {
        stage.wire.reset_all();
        pause(Duration::from_millis(100)).await;
    }
    load.accepts(50, RESUMES).await.context("after resets")?;
    let bad = [
        ("a byte a second", Weather::Trickle(Duration::from_secs(1))),
        ("two seconds late", Weather::Late(Duration::from_secs(2))),
        ("silence", Weather::Lost),
    ];
    for (name, weather) in bad {
        suffer(&stage, &load, name, weather, time).await?;
    }
    stage.end(load, "bad weather").await
}

/// The server says nothing any more, and its connections are never heard of again.
pub async fn silence(time: Duration) -> Result<()> {
    let stage = Stage::new(10).await?;
    let load = Load::start(&stage.site.client, Plan::default());
    load.accepts(50, PATIENCE).await?;
    suffer(&stage, &load, "silence", Weather::Lost, time).await?;
    stage.end(load, "silence").await
}

async fn suffer(stage: &Stage, load: &Load, name: &str, weather: Weather, time: Duration) -> Result<()> {
    let before = load.answers();
    stage.wire.weather(weather);
    pause(time).await;
    stage.wire.weather(Weather::Fair);
    let fair = Instant::now();
    load.accepts(20, 3 * RESUMES).await.with_context(|| format!("after {name}"))?;
    let took = fair.elapsed();
    let answers = load.answers();
    let new = answers.iter().map(|(status, count)| (status, count - before.get(status).unwrap_or(&0)));
    let new: Vec<_> = new.filter(|(_, count)| *count > 0).collect();
    println!("  {name} for {time:?}: answers {new:?}, accepts again after {took:?}");
    ensure!(took < RESUMES, "after {name} it took {took:?} to go on");
    Ok(())
}

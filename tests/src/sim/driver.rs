//! Carries out a plan: starts the processes, does what is planned at its time,
//! lets everything come to rest, and judges what is left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use taskflow_checker::history::{Fault, Known, Op, Run};
use taskflow_checker::{History, Violation, judge};
use taskflow_domain::JobState;
use taskflow_domain::tenant::TenantSettings;
use tokio::runtime::Builder;
use tokio::time::{sleep, sleep_until};

use super::client;
use super::health;
use super::log::tenant_name;
use super::node::Node;
use super::plan::{Deed, Plan, Process, TENANTS, Trouble, TroubleKind};
use super::remote;
use super::tables::{all_jobs, collect};
use super::tables_rules::{collect_rules, stop_clocks};
use super::world::{CLOCK_SLACK_US, Sim};
use crate::planted::Bug;

/// How long everything may take to come to rest after the plan, in seconds.
const REST_S: u64 = 900;
/// How long an expired lease may stand.
const REAP_BOUND_US: i64 = 5_000_000;

/// What a run brought.
#[derive(Debug)]
pub struct Report {
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// The whole history.
    pub history: History,
    /// The hash of everything that happened.
    pub trace: u64,
    /// How many things happened.
    pub steps: u64,
    /// What happened, line by line, if that was wanted.
    pub lines: Option<Vec<String>>,
    /// How much time it was for the engine, in milliseconds.
    pub lasted_ms: u64,
    /// How often each thing happened.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Carries out a plan, with a defect if one is named.
pub fn run(plan: Plan, bug: Option<Bug>, keep_lines: bool) -> Result<Report> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async move {
        let sim = Sim::new(plan, bug);
        if keep_lines {
            sim.log().trace.lines = Some(Vec::new());
        }
        carry_out(&sim).await;
        release_tenants(&sim).await?;
        stop_clocks(&sim).await?;
        come_to_rest(&sim).await?;
        conclude(&sim).await
    })
}

/// Something that the driver does at its time.
enum Cue {
    Do(Deed),
    Begin(Trouble),
    End(Trouble),
}

async fn carry_out(sim: &Arc<Sim>) {
    for index in 0..sim.plan.nodes {
        Node::start(sim, index, 0);
    }
    for process in sim.plan.nodes..sim.plan.nodes + sim.plan.remotes {
        start_remote(sim, process, 0);
    }
    tokio::spawn(health::watch(Arc::clone(sim)));
    let mut cues: Vec<(u64, u8, Cue)> = Vec::new();
    for action in &sim.plan.actions {
        cues.push((action.at_ms, 1, Cue::Do(action.deed.clone())));
    }
    for trouble in &sim.plan.troubles {
        cues.push((trouble.from_ms, 2, Cue::Begin(trouble.clone())));
        cues.push((trouble.to_ms, 0, Cue::End(trouble.clone())));
    }
    cues.sort_by_key(|(at, rank, _)| (*at, *rank));
    for (at_ms, _, cue) in cues {
        sleep_until(sim.timeline.began() + Duration::from_millis(at_ms)).await;
        match cue {
            Cue::Do(deed) => drop(tokio::spawn(client::perform(Arc::clone(sim), deed))),
            Cue::Begin(trouble) => begin(sim, &trouble),
            Cue::End(trouble) => end(sim, &trouble),
        }
    }
    sleep_until(sim.timeline.began() + Duration::from_millis(sim.plan.ends_ms)).await;
}

fn begin(sim: &Arc<Sim>, trouble: &Trouble) {
    sim.trace(&format!("trouble {trouble:?}"));
    sim.log().count(trouble.kind.class());
    let lasts_ms = trouble.to_ms - trouble.from_ms;
    match trouble.kind {
        TroubleKind::Crash => kill(sim, trouble.process, lasts_ms),
        TroubleKind::Deploy => {
            let leaving = sim.nodes().into_iter().find(|node| node.index == trouble.process);
            if let Some(node) = leaving {
                node.going.cancel();
            }
        }
        TroubleKind::Step(millis) => {
            let from = sim.now_us();
            sim.timeline.step(millis);
            let to = sim.now_us();
            if to > from {
                sim.log().fault(Fault::Outage { from, to });
            }
        }
        _ => {}
    }
}

fn end(sim: &Arc<Sim>, trouble: &Trouble) {
    match trouble.kind {
        TroubleKind::Outage => {
            let to = sim.now_us();
            let lasted_us = i64::try_from((trouble.to_ms - trouble.from_ms) * 1_000).unwrap_or(0);
            sim.log().fault(Fault::Outage { from: to - lasted_us, to });
        }
        TroubleKind::Deploy => kill(sim, trouble.process, 0),
        _ => {}
    }
}

/// Kills a process; it comes back after `down_ms`.
pub(super) fn kill(sim: &Arc<Sim>, process: Process, down_ms: u64) {
    if process >= sim.plan.nodes {
        return kill_remote(sim, process, down_ms);
    }
    let Some(node) = sim.place_node(process, None) else { return };
    sim.trace(&format!("node {process} dies"));
    node.life.cancel();
    let generation = sim.next_generation(process);
    let sim = Arc::clone(sim);
    tokio::spawn(async move {
        sleep(Duration::from_millis(down_ms)).await;
        Node::start(&sim, process, generation);
    });
}

fn kill_remote(sim: &Arc<Sim>, process: Process, down_ms: u64) {
    sim.trace(&format!("worker {process} dies"));
    sim.take_life(process);
    let generation = sim.next_generation(process);
    let sim = Arc::clone(sim);
    tokio::spawn(async move {
        sleep(Duration::from_millis(down_ms)).await;
        start_remote(&sim, process, generation);
    });
}

fn start_remote(sim: &Arc<Sim>, process: Process, generation: u64) {
    let life = sim.new_life(process);
    remote::start(sim, process, generation, life);
}

/// Waits until nothing is left to do, or for as long as that may take.
async fn come_to_rest(sim: &Arc<Sim>) -> Result<()> {
    rest(sim).await?;
    late_ones_arrive(sim).await;
    rest(sim).await
}

/// What was under way, as late duplicates, still arrives.
async fn late_ones_arrive(sim: &Sim) {
    let late = sim.plan.troubles.iter().map(|trouble| match trouble.kind {
        TroubleKind::Repeat(_) => sim.plan.lease_ms * 2,
        TroubleKind::Slow(most_ms) => most_ms,
        _ => 1_000,
    });
    sleep(Duration::from_millis(late.max().unwrap_or(1_000))).await;
}

/// Somebody lets go on what is still held. An operator who has no answer asks
/// again, so what he asked for first may happen last: a tenant is held for ever
/// that was to be let go, and so is what waits for the end of its jobs.
async fn release_tenants(sim: &Arc<Sim>) -> Result<()> {
    for _ in 0..REST_S {
        if sim.log().at_work == 0 {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    late_ones_arrive(sim).await;
    for slug in (0..TENANTS).map(tenant_name) {
        let Some(tenant) = sim.truth.tenants.get(&slug).await? else { continue };
        if !tenant.settings.paused {
            continue;
        }
        let settings = TenantSettings { paused: false, ..tenant.settings };
        let max_running = settings.max_running.map(u64::from);
        sim.truth.tenants.put(&slug, &settings, sim.timeline.now(), None).await?;
        let op = Op::SetTenant { tenant: slug.as_str().into(), max_running, paused: false };
        let now = sim.now_us();
        sim.log().count("tenants still held when all operators had gone");
        sim.log().call(now, now, Known::Ok, op);
    }
    Ok(())
}

async fn rest(sim: &Arc<Sim>) -> Result<()> {
    for _ in 0..REST_S {
        sleep(Duration::from_secs(1)).await;
        if nothing_moves(sim).await? {
            break;
        }
    }
    Ok(())
}

async fn nothing_moves(sim: &Arc<Sim>) -> Result<bool> {
    if sim.memory.undispatched() > 0 || sim.log().at_work > 0 {
        return Ok(false);
    }
    for index in 0..TENANTS {
        let Some(tenant) = sim.truth.tenants.get(&tenant_name(index)).await? else { continue };
        let jobs = all_jobs(&sim.truth, tenant.id).await?;
        let rests = |state: JobState| state.is_terminal() || state == JobState::Paused;
        if !jobs.iter().all(|job| rests(job.standing.state())) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn conclude(sim: &Arc<Sim>) -> Result<Report> {
    let lasted_ms = sim.at_ms();
    let now = sim.now_us();
    sim.log().engine_again(now);
    let mut history = std::mem::take(&mut sim.log().history);
    history.run = Run {
        lease_us: i64::try_from(sim.plan.lease_ms * 1_000).unwrap_or(i64::MAX),
        reap_bound_us: REAP_BOUND_US,
        clock_slack_us: CLOCK_SLACK_US,
        ended_at: now,
        settled: true,
        effects_complete: true,
        undispatched: sim.memory.undispatched() as u64,
    };
    let tenants: Vec<_> = (0..TENANTS).map(tenant_name).collect();
    collect(&sim.stores, &tenants, &mut history).await?;
    collect_rules(sim, &mut history).await?;
    let mut log = sim.log();
    let violations = judge(&history);
    Ok(Report {
        violations,
        history,
        trace: log.trace.hash,
        steps: log.trace.steps,
        lines: log.trace.lines.take(),
        lasted_ms,
        counts: std::mem::take(&mut log.counts),
    })
}

//! Runs operations beside each other, one statement at a time.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::gate::Gate;
use super::order::{Outcome, Plan};
use super::touch::Touch;

/// How long nothing may happen before something is wrong. The server finds a
/// deadlock after a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// So often a session is looked at before it is given more time.
const LOOKS: u32 = 400;

/// So long after a change a store may look at it again, behind the back of its caller.
const AFTERWARDS: Duration = Duration::from_millis(4);

/// A session with the operation that it runs.
struct Session<T> {
    gate: Gate,
    task: JoinHandle<T>,
}

/// Runs one operation in each session; the statements go through one at a time, as
/// planned. A session that waits for another one's lock is passed over until it goes
/// on. `blocked` says which of the server's processes wait for locks.
pub async fn in_order<T, F, B>(
    gates: &[Gate],
    operations: Vec<F>,
    mut plan: Plan,
    blocked: impl Fn() -> B,
) -> Result<(Vec<T>, Outcome)>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
    B: Future<Output = Result<Vec<i32>>>,
{
    for gate in gates {
        gate.close(true);
    }
    let sessions: Vec<_> = gates
        .iter()
        .zip(operations)
        .map(|(gate, operation)| Session { gate: gate.clone(), task: tokio::spawn(operation) })
        .collect();
    let mut outcome = Outcome::default();
    let mut wait = Duration::ZERO;
    while let Some((session, touch)) = outcome.step(&mut plan, ready(&sessions, wait, &blocked).await?) {
        wait = if touch.is_seen() { AFTERWARDS } else { Duration::ZERO };
        sessions[session].gate.permit();
    }
    for gate in gates {
        gate.close(false);
    }
    let mut results = Vec::with_capacity(sessions.len());
    for session in sessions {
        results.push(session.task.await?);
    }
    Ok((results, outcome))
}

/// The statements that wait at the gates, and what they touch, once everything else has
/// ended or waits for a lock, and has done so for this long. None if all has ended.
async fn ready<T, B>(
    sessions: &[Session<T>],
    wait: Duration,
    blocked: &impl Fn() -> B,
) -> Result<Vec<(usize, Touch)>>
where
    B: Future<Output = Result<Vec<i32>>>,
{
    let began = Instant::now();
    let mut still = (0, began);
    let mut looks = 0;
    loop {
        let mut ready = Vec::new();
        let mut unclear = Vec::new();
        for (index, session) in sessions.iter().enumerate() {
            let seen = session.gate.look();
            ready.extend(seen.waiting.map(|touch| (index, touch)));
            if seen.in_flight || (seen.waiting.is_none() && !session.task.is_finished()) {
                unclear.push(seen);
            }
        }
        // Whoever comes or goes begins the wait anew.
        let now = sessions.len() * ready.len() + unclear.len();
        if still.0 != now {
            still = (now, Instant::now());
        }
        let settled = still.1.elapsed() >= wait;
        if unclear.is_empty() && settled {
            return Ok(ready);
        }
        looks += 1;
        // A statement that does not wait for a lock is answered within a moment.
        if looks > LOOKS && settled && !ready.is_empty() && unclear.iter().all(|seen| seen.in_flight) {
            let waits = blocked().await?;
            if unclear.iter().all(|seen| seen.pids.iter().any(|pid| waits.contains(pid))) {
                return Ok(ready);
            }
        }
        if began.elapsed() > PATIENCE {
            bail!("the sessions do not go on: {unclear:?}");
        }
        pause(if unclear.is_empty() { LOOKS } else { looks }).await;
    }
}

/// Waits as long as stores may still do something behind the back of their callers.
pub async fn afterwards() {
    let mut tick = tokio::time::interval(AFTERWARDS);
    tick.tick().await;
    tick.tick().await;
}

/// Gives the others their turn, and soon a little time.
async fn pause(looks: u32) {
    if looks < LOOKS {
        tokio::task::yield_now().await;
    } else {
        let mut tick = tokio::time::interval(Duration::from_micros(300));
        tick.tick().await;
        tick.tick().await;
    }
}

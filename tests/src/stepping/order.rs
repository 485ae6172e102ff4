//! Runs operations in every order of their statements.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::gate::Gate;

/// How long nothing may happen before something is wrong. The server finds a
/// deadlock after a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// So often a session is looked at before it is given more time.
const LOOKS: u32 = 400;

/// All orders with so many interruptions, one after the other: each is a list of
/// choices, and the next one differs from it as late as possible.
#[derive(Debug, Default)]
pub struct Orders {
    next: Option<Vec<usize>>,
    begun: bool,
}

impl Orders {
    /// The choices that the next run begins with; none if there is no next run.
    pub fn next_run(&mut self) -> Option<Vec<usize>> {
        if self.begun { self.next.take() } else { Some(Vec::new()) }
    }

    /// Notes what could be chosen in the last run, and what was.
    pub fn ran(&mut self, outcome: &Outcome) {
        self.begun = true;
        let open = outcome.choices.iter().rposition(|(chosen, of)| chosen + 1 < *of);
        self.next = open.map(|at| {
            let mut choices: Vec<_> = outcome.choices[..at].iter().map(|(chosen, _)| *chosen).collect();
            choices.push(outcome.choices[at].0 + 1);
            choices
        });
    }
}

/// What a run was.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// At each step what was chosen, and of how many.
    pub choices: Vec<(usize, usize)>,
    /// Which session made each step.
    pub sessions: Vec<usize>,
}

/// A session with the operation that it runs.
struct Session<T> {
    gate: Gate,
    task: JoinHandle<T>,
}

/// Runs one operation in each session; the statements go through one at a time,
/// beginning with the given choices. The first choice is always to let the same
/// session go on; a session that could go on is interrupted `most` times at most. A session that waits for another one's lock
/// is passed over until it goes on. `blocked` says which of the server's processes
/// wait for locks.
pub async fn in_order<T, F, B>(
    gates: &[Gate],
    operations: Vec<F>,
    choices: &[usize],
    most: usize,
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
    let mut interruptions = 0;
    loop {
        let mut ready = ready(&sessions, &blocked).await?;
        if ready.is_empty() {
            break;
        }
        let goes_on = outcome.sessions.last().copied().filter(|last| ready.contains(last));
        if let Some(last) = goes_on {
            ready.retain(|session| *session != last);
            ready.insert(0, last);
            ready.truncate(if interruptions < most { ready.len() } else { 1 });
        }
        let chosen = choices.get(outcome.choices.len()).copied().unwrap_or(0).min(ready.len() - 1);
        interruptions += usize::from(goes_on.is_some() && chosen > 0);
        outcome.choices.push((chosen, ready.len()));
        outcome.sessions.push(ready[chosen]);
        sessions[ready[chosen]].gate.permit();
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

/// The sessions whose next statement waits at the gate, once every other session
/// has ended or waits for a lock. None if all have ended.
async fn ready<T, B>(sessions: &[Session<T>], blocked: &impl Fn() -> B) -> Result<Vec<usize>>
where
    B: Future<Output = Result<Vec<i32>>>,
{
    let began = Instant::now();
    let mut looks = 0;
    loop {
        let mut ready = Vec::new();
        let mut unclear = Vec::new();
        for (index, session) in sessions.iter().enumerate() {
            let seen = session.gate.look();
            if seen.in_flight {
                unclear.push(seen);
            } else if seen.waiting {
                ready.push(index);
            } else if !session.task.is_finished() {
                unclear.push(seen);
            }
        }
        if unclear.is_empty() {
            return Ok(ready);
        }
        looks += 1;
        // A statement that does not wait for a lock is answered within a moment.
        if looks > LOOKS && !ready.is_empty() && unclear.iter().all(|seen| seen.in_flight) {
            let waits = blocked().await?;
            if unclear.iter().all(|seen| seen.pids.iter().any(|pid| waits.contains(pid))) {
                return Ok(ready);
            }
        }
        if began.elapsed() > PATIENCE {
            bail!("the sessions do not go on: {unclear:?}");
        }
        pause(looks).await;
    }
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

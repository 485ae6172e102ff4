//! Where the statements of one session wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Where the statements of one session wait.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Whether statements wait at all.
    closed: bool,
    /// Statements that wait.
    waiting: u32,
    /// Statements that may pass.
    permits: u32,
    /// Statements that passed and have no answer yet.
    in_flight: u32,
    /// Statements that passed since the gate was closed.
    passed: u32,
    /// The server's processes.
    pids: Vec<i32>,
}

/// What a session does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) waiting: bool,
    pub(super) in_flight: bool,
    pub(super) passed: u32,
    pub(super) pids: Vec<i32>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on each statement waits to be let through, or none does.
    pub(super) fn close(&self, closed: bool) {
        {
            let mut state = self.state();
            state.closed = closed;
            state.passed = 0;
            state.permits = 0;
        }
        self.shared.changed.notify_waiters();
    }

    /// Lets one statement through.
    pub(super) fn permit(&self) {
        self.state().permits += 1;
        self.shared.changed.notify_waiters();
    }

    /// What the session does now.
    pub(super) fn look(&self) -> Seen {
        let state = self.state();
        Seen {
            waiting: state.waiting > state.permits,
            in_flight: state.in_flight > 0 || (state.waiting > 0 && state.permits > 0),
            passed: state.passed,
            pids: state.pids.clone(),
        }
    }

    /// Waits to be let through.
    pub(super) async fn pass(&self) {
        self.state().waiting += 1;
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if !state.closed || state.permits > 0 {
                    state.permits = state.permits.saturating_sub(1);
                    state.waiting -= 1;
                    state.in_flight += 1;
                    state.passed += 1;
                    return;
                }
            }
            changed.await;
        }
    }

    /// Notes that a statement has its answer.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_sub(1);
    }

    /// Notes a process of the server.
    pub(super) fn serves(&self, pid: i32) {
        self.state().pids.push(pid);
    }
}

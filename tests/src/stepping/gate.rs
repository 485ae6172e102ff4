//! Where the statements of one session wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::touch::Touch;

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
    /// Statements that wait, by their connection, and whether they may pass.
    waiting: BTreeMap<usize, (Touch, bool)>,
    /// Statements that passed and have no answer yet.
    in_flight: u32,
    /// The server's processes, one for each connection.
    pids: Vec<i32>,
    connections: usize,
}

/// What a session does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// What the next statement touches, if one waits.
    pub(super) waiting: Option<Touch>,
    pub(super) in_flight: bool,
    pub(super) pids: Vec<i32>,
}

impl State {
    /// The next statement. What a session does behind the back of its operation may wait
    /// beside it: which of the two came first is chance, so it does not count.
    fn next(&mut self) -> Option<&mut (Touch, bool)> {
        self.waiting.values_mut().filter(|(_, permitted)| !permitted).min_by_key(|(touch, _)| *touch)
    }
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on each statement waits to be let through, or none does.
    pub(super) fn close(&self, closed: bool) {
        self.state().closed = closed;
        self.shared.changed.notify_waiters();
    }

    /// Lets the next statement through.
    pub(super) fn permit(&self) {
        if let Some((_, permitted)) = self.state().next() {
            *permitted = true;
        }
        self.shared.changed.notify_waiters();
    }

    /// What the session does now.
    pub(super) fn look(&self) -> Seen {
        let mut state = self.state();
        let in_flight = state.in_flight > 0 || state.waiting.values().any(|(_, permitted)| *permitted);
        let waiting = state.next().map(|(touch, _)| *touch);
        Seen { waiting, in_flight, pids: state.pids.clone() }
    }

    /// Waits to be let through.
    pub(super) async fn pass(&self, connection: usize, touch: Touch) {
        self.state().waiting.insert(connection, (touch, false));
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.state();
                let permitted = state.waiting.get(&connection).is_none_or(|(_, permitted)| *permitted);
                if !state.closed || permitted {
                    state.waiting.remove(&connection);
                    state.in_flight += 1;
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

    /// A number for a new connection.
    pub(super) fn connection(&self) -> usize {
        let mut state = self.state();
        state.connections += 1;
        state.connections
    }

    /// Notes a process of the server.
    pub(super) fn serves(&self, pid: i32) {
        self.state().pids.push(pid);
    }
}

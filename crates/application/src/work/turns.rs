//! Whose turn it is to look for jobs.
//!
//! Every submit wakes everybody who waits for work on the network, and there may
//! be thousands of them. So they look in turn, a few of each tenant and of all,
//! and hold nothing while they wait for it: whoever has many workers keeps nobody
//! else from the database. And whoever wants what another one has just looked for
//! in vain need not look again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskflow_domain::{Kind, QueueName, TenantId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, Instant};

/// So many look at once.
const ALL: usize = 8;
/// Of one tenant, so many.
const EACH: usize = 2;
/// News can be lost, so somebody looks as often as this in any case.
const PATIENCE: Duration = Duration::from_secs(1);
/// With so many tenants, those that say nothing any more are dropped.
const MANY: usize = 10_000;
/// So many looks in vain are remembered; each may name hundreds of names.
const WISHES: usize = 1_000;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) tenant: Option<TenantId>,
    pub(super) queues: Vec<QueueName>,
    pub(super) kinds: Vec<Kind>,
}

/// Looks are numbered in the order in which they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

/// The last look for something that found nothing.
#[derive(Clone, Copy, Debug)]
struct InVain {
    began: Moment,
    at: Instant,
}

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    all: Arc<Semaphore>,
    tenants: Mutex<HashMap<Option<TenantId>, Arc<Semaphore>>>,
    looks: AtomicU64,
    in_vain: Mutex<HashMap<Wanted, InVain>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(ALL)),
            tenants: Mutex::default(),
            looks: AtomicU64::new(0),
            in_vain: Mutex::default(),
        }
    }
}

/// The permission to look, until it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    began: Moment,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Turn<'_> {
    /// Says that nothing was there.
    pub(super) fn in_vain(self, wanted: &Wanted) {
        let mut in_vain = locked(&self.turns.in_vain);
        if in_vain.len() >= WISHES {
            in_vain.retain(|_, last| last.at.elapsed() < PATIENCE);
        }
        if in_vain.len() >= WISHES {
            in_vain.clear();
        }
        let before = in_vain.get(wanted).map_or(self.began, |last| last.began);
        in_vain.insert(wanted.clone(), InVain { began: before.max(self.began), at: Instant::now() });
    }
}

impl Turns {
    /// Now, to be told apart from the looks before and after.
    pub(super) fn now(&self) -> Moment {
        Moment(self.looks.load(Ordering::SeqCst))
    }

    /// Waits for a turn. `None`: since `seen` somebody looked for the same in vain,
    /// or, for whoever comes without news, a short time ago.
    pub(super) async fn turn(&self, wanted: &Wanted, seen: Moment, news: bool) -> Option<Turn<'_>> {
        let tenant = {
            let mut tenants = locked(&self.tenants);
            if tenants.len() >= MANY {
                tenants.retain(|_, turns| Arc::strong_count(turns) > 1);
            }
            Arc::clone(tenants.entry(wanted.tenant).or_insert_with(|| Arc::new(Semaphore::new(EACH))))
        };
        // The semaphores are never closed.
        let first = tenant.acquire_owned().await.ok()?;
        let second = Arc::clone(&self.all).acquire_owned().await.ok()?;
        if let Some(last) = locked(&self.in_vain).get(wanted)
            && (last.began >= seen || (!news && last.at.elapsed() < PATIENCE))
        {
            return None;
        }
        let began = Moment(self.looks.fetch_add(1, Ordering::SeqCst));
        Some(Turn { turns: self, began, _permits: [first, second] })
    }

    /// When to look without news.
    pub(super) fn next(&self, wanted: &Wanted) -> Instant {
        let last = locked(&self.in_vain).get(wanted).map(|last| last.at);
        last.unwrap_or_else(Instant::now) + PATIENCE
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(tenant: i32) -> Wanted {
        Wanted { tenant: Some(TenantId(tenant)), queues: Vec::new(), kinds: Vec::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_looked_for_in_vain_is_not_looked_for_again() {
        let turns = Turns::default();
        let (early, other) = (turns.now(), wanted(2));
        turns.turn(&wanted(1), early, true).await.unwrap().in_vain(&wanted(1));
        assert!(turns.turn(&wanted(1), early, true).await.is_none(), "somebody looked since");
        assert!(turns.turn(&other, early, true).await.is_some(), "for something else");
        let late = turns.now();
        assert!(turns.turn(&wanted(1), late, false).await.is_none(), "just now, and no news");
        assert!(turns.turn(&wanted(1), late, true).await.is_some(), "there are news");
        tokio::time::advance(PATIENCE).await;
        assert!(turns.turn(&wanted(1), late, false).await.is_some(), "it was long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_leaves_room_for_others() {
        let turns = Turns::default();
        let now = turns.now();
        let held = [turns.turn(&wanted(1), now, true).await, turns.turn(&wanted(1), now, true).await];
        assert!(held.iter().all(Option::is_some));
        let third = tokio::time::timeout(PATIENCE, turns.turn(&wanted(1), now, true)).await;
        assert!(third.is_err(), "the tenant has its turns");
        assert!(turns.turn(&wanted(2), now, true).await.is_some());
    }
}

//! Forgetting: events and firings are kept for a stated time.

use super::Automation;
use crate::maintain::Step;
use crate::ports::StoreResult;

/// Rows deleted in one step.
const STEP: u32 = 500;

/// How long events and firings are kept, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRetention {
    /// What came from outside.
    pub events_ms: i64,
    /// What rules came to.
    pub firings_ms: i64,
}

impl Default for EventRetention {
    /// A week for events, thirty days for firings.
    fn default() -> Self {
        const DAY: i64 = 24 * 3_600_000;
        Self { events_ms: 7 * DAY, firings_ms: 30 * DAY }
    }
}

impl Automation {
    /// Deletes events and firings that are old enough, a few of each.
    pub async fn prune(&self, retention: EventRetention) -> StoreResult<Step> {
        let now = self.world.clock.now();
        let (stores, before) = (&self.world.stores, |ms: i64| now.plus_millis(-ms));
        let events = stores.events.prune(before(retention.events_ms), STEP).await?;
        let firings = stores.rules.prune_firings(before(retention.firings_ms), STEP).await?;
        Ok(Step { jobs: 0, more: events == STEP || firings == STEP, next: None })
    }
}

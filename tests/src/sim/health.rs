//! Watches whether any engine process could do its duty: a promise that holds
//! while one engine lives is not asked for while none does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::plan::TroubleKind;
use super::world::Sim;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);

/// Watches for as long as the run lasts.
pub(super) async fn watch(sim: Arc<Sim>) {
    // Whoever was away, or has just begun, first leaves all leases alone for the
    // time of one lease, and may have been waiting to try again before that.
    let recovery = Duration::from_millis(sim.plan.lease_ms + 3_000);
    let mut well_since: Vec<Option<Instant>> = vec![None; sim.plan.nodes];
    sim.log().no_engine_since = Some(sim.now_us());
    loop {
        let now = Instant::now();
        let living: Vec<usize> = sim.nodes().iter().map(|node| node.index).collect();
        for (index, since) in well_since.iter_mut().enumerate() {
            let well = living.contains(&index) && !sim.lingering(index).any(|it| hinders(it.kind));
            *since = if well { since.or(Some(now)) } else { None };
        }
        let somebody = well_since.iter().flatten().any(|since| now.duration_since(*since) > recovery);
        let at = sim.now_us();
        if somebody {
            sim.log().engine_again(at);
        } else {
            sim.log().no_engine_since.get_or_insert(at - 250_000);
        }
        sleep(LOOK).await;
    }
}

/// Whether a process with this trouble may be late with its duties.
const fn hinders(kind: TroubleKind) -> bool {
    !matches!(kind, TroubleKind::Repeat(_))
}

//! Real faults on the real binary, each judged by the checker. What costs little
//! runs with all other tests; `scripts/faults` runs one of them by its name, or a
//! long form of it.

mod backends;
mod freeze;
mod handlers;
mod herd;
mod kills;
mod peers;
mod trial;
mod witness;

use std::time::Duration;

/// Lets time pass for processes that stand still, which have no signal to give.
async fn pass(time: Duration) {
    let mut timer = tokio::time::interval(time);
    timer.tick().await;
    timer.tick().await;
}

//! Real faults, done to the real binary on real databases. What clients were told,
//! what targets saw and what is stored in the end is judged by the checker.
//!
//! What breaks something of the machine is a scenario of its own here; what needs
//! no more than a process or a connection is a test (`tests/it/e2e/faults`).
//! `scripts/faults NAME` runs one of either.

pub mod backends;
pub mod careless;
pub mod client;
pub mod clock_jump;
pub mod disk_full;
pub mod failover;
pub mod load;
pub mod machine;
pub mod nodes;
pub mod power_cut;
pub mod site;
pub mod target;
pub mod watch;
pub mod witness;

/// Microseconds since the Unix epoch by this machine's clock, which the engine
/// stamps its records with too.
#[expect(clippy::disallowed_methods, reason = "what happened is compared with the engine's stamps")]
pub fn now_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The bounded wait between two looks at something that gives no signal.
pub async fn pause(time: std::time::Duration) {
    let mut timer = tokio::time::interval(time);
    timer.tick().await;
    timer.tick().await;
}

/// A number from 0 to `below`, from a sequence that only `state` decides.
pub fn random(state: &mut u64, below: u64) -> u64 {
    // The generator of SplitMix64.
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % below.max(1)
}

//! Real faults on the real binary, each judged by the checker. What costs little
//! runs with all other tests; `scripts/faults` runs one of them by its name, or a
//! long form of it.

mod freeze;
mod handlers;
mod herd;
mod kills;
mod news;
mod peers;
mod points;
mod trial;

use anyhow::Result;

/// The short form of `scripts/faults backends`: what else breaks something of the
/// machine has no short form.
#[tokio::test]
async fn processes_of_the_server_die() -> Result<()> {
    taskflow_tests::faults::backends::run_all(1).await
}

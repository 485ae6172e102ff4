//! Calls from outside: whoever is outside reaches whichever node answers, and the
//! call lives and dies with that node.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::node::Node;
use super::plan::Process;
use super::world::Sim;

/// Nobody answered; what was asked for may have happened or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks a node. `from` is the process that asks, or any other number for clients.
pub(super) async fn ask<T, F>(
    sim: &Arc<Sim>,
    from: Process,
    call: impl FnOnce(Arc<Node>) -> F + Send,
) -> Result<T, Lost>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    if sim.is_cut(from) {
        sleep(Duration::from_millis(200)).await;
        return Err(Lost);
    }
    let nodes: Vec<_> = sim.nodes().into_iter().filter(|node| !node.going.is_cancelled()).collect();
    if nodes.is_empty() {
        sleep(Duration::from_millis(200)).await;
        return Err(Lost);
    }
    // Spread over the nodes by time, which is as good as chance here.
    let node = Arc::clone(&nodes[(sim.at_ms() as usize + from) % nodes.len()]);
    let late = Duration::from_millis(if sim.slowness(from) > 3 { sim.slowness(from) / 2 } else { 0 });
    let (answer, answered) = oneshot::channel();
    let work = call(Arc::clone(&node));
    node.spawn(async move {
        sleep(late).await;
        drop(answer.send(work.await));
    });
    let Ok(Ok(answer)) = timeout(PATIENCE, answered).await else { return Err(Lost) };
    if sim.is_cut(from) {
        return Err(Lost);
    }
    Ok(answer)
}

//! When to stop: SIGTERM or SIGINT asks for it, a second one does not wait.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How a process ends that was told twice.
const INTERRUPTED: i32 = 130;

/// A token that is cancelled at the first signal. At the second the process
/// ends at once; leases that it holds expire.
pub(crate) fn on_signal() -> std::io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    let told = token.clone();
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal.name = name, "stopping; another signal stops at once");
        told.cancel();
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal.name = name, "stopped at once");
        std::process::exit(INTERRUPTED);
    });
    Ok(token)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

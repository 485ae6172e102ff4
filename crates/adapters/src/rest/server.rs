//! The accept loop: connections in, a router behind.
//!
//! Clients may be slow, silent or hostile, so every wait has an end: a client
//! gets a limited time to send the head of a request, HTTP/2 connections are
//! pinged, and their number is limited. When the process is to stop, no
//! connection is accepted any more, the open ones finish their requests, and at
//! the deadline the rest is dropped, whatever streams they hold.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::telemetry::HTTP_CONNECTIONS;

/// Requests that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 250;

/// The largest head of an HTTP/2 request, in bytes.
const MAX_HEAD: u32 = 32 * 1024;

/// A pause after the machine refused a connection, for example for lack of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// How a server treats its clients.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// How long a client may take for the head of a request, and how long an
    /// HTTP/1 connection may stay without one.
    pub header_timeout: Duration,
    /// How long open requests may take once the process is to stop.
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { connections: 10_000, header_timeout: Duration::from_secs(10), drain: Duration::from_secs(10) }
    }
}

/// Serves `router` until `stop`, and returns when the last connection is closed,
/// at the latest when the drain has passed.
pub async fn serve(listener: TcpListener, router: Router, limits: ServerLimits, stop: CancellationToken) {
    let server = Arc::new(Server {
        builder: builder(limits),
        limits,
        router,
        stop: stop.clone(),
        drop: CancellationToken::new(),
    });
    let room = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &room)).await {
        match accepted {
            Ok((stream, permit)) => {
                let server = Arc::clone(&server);
                connections.spawn(async move {
                    let open = metrics::gauge!(HTTP_CONNECTIONS);
                    open.increment(1);
                    server.connection(stream).await;
                    open.decrement(1);
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(BREATH).await;
            }
        }
    }
    // Closed before the drain, so that new clients turn to other processes.
    drop(listener);
    connections.close();
    if timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections are dropped at the deadline");
        server.drop.cancel();
        connections.wait().await;
    }
}

type Permit = tokio::sync::OwnedSemaphorePermit;

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(TcpStream, Permit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

struct Server {
    builder: auto::Builder<TokioExecutor>,
    limits: ServerLimits,
    router: Router,
    /// Finish what was begun.
    stop: CancellationToken,
    /// Close at once.
    drop: CancellationToken,
}

impl Server {
    async fn connection(&self, stream: TcpStream) {
        let asked = Arc::new(AtomicBool::new(false));
        let service = {
            let asked = Arc::clone(&asked);
            self.router.clone().map_request(move |request: Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                request
            })
        };
        let served = self.builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut served = pin!(served);
        // The timer of HTTP/1 starts with the first byte and HTTP/2 has none, so
        // a silent client is watched here.
        let mut silent = pin!(sleep(self.limits.header_timeout));
        let mut watching = true;
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = served.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection ended early");
                    }
                    return;
                }
                () = &mut silent, if watching => {
                    if !asked.load(Ordering::Relaxed) {
                        return;
                    }
                    watching = false;
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    served.as_mut().graceful_shutdown();
                }
                () = self.drop.cancelled() => return,
            }
        }
    }
}

fn builder(limits: ServerLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(limits.header_timeout)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD);
    builder
}

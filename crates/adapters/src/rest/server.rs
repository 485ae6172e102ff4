//! The accept loop: connections in, a router behind.
//!
//! Clients may be slow, silent or hostile, so every wait has an end: a client
//! gets a limited time to send the head of a request, HTTP/2 connections are
//! pinged, and their number is limited. When the process is to stop, no
//! connection is accepted any more, the open ones finish their requests, and at
//! the deadline the rest is dropped, whatever streams they hold.

use std::io;
use std::net::IpAddr;
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
use taskflow_application::access::Peer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::patient::Patient;
use super::shares::Shares;
use crate::telemetry::HTTP_CONNECTIONS;

/// Requests that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 100;

/// The largest head of an HTTP/2 request, in bytes.
const MAX_HEAD: u32 = 32 * 1024;

/// A pause after the machine refused a connection, for example for lack of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// The other end of the connection that a request came over. Behind a proxy it
/// is the proxy: what a request says of where it comes from is not believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectedPeer(pub(super) IpAddr);

/// How a server treats its clients.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Connections of one address at once; more are closed. Behind a proxy, all
    /// callers have its address. Of IPv6, a network of 64 bits counts as one.
    pub per_address: usize,
    /// How long a client may take for the head of a request, and how long an
    /// HTTP/1 connection may stay without one.
    pub header_timeout: Duration,
    /// How long a client may take nothing of an answer that is ready for it.
    pub write_timeout: Duration,
    /// How long open requests may take once the process is to stop.
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            per_address: 2_000,
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
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
    let addresses = Shares::new(limits.per_address, limits.connections);
    let connections = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &room)).await {
        match accepted {
            Ok((stream, peer, permit)) => {
                // Closed at once: whoever has too many gets no answer for another one.
                let Ok(share) = addresses.take(Peer::from(peer)) else { continue };
                let server = Arc::clone(&server);
                connections.spawn(async move {
                    let open = metrics::gauge!(HTTP_CONNECTIONS);
                    open.increment(1);
                    server.connection(stream, peer).await;
                    open.decrement(1);
                    drop((share, permit));
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

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(TcpStream, IpAddr, Permit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer.ip(), permit))
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
    async fn connection(&self, stream: TcpStream, peer: IpAddr) {
        let asked = Arc::new(AtomicBool::new(false));
        let service = {
            let asked = Arc::clone(&asked);
            self.router.clone().map_request(move |mut request: Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                request.extensions_mut().insert(ConnectedPeer(peer));
                request
            })
        };
        let served = self.builder.serve_connection(
            TokioIo::new(Patient::new(stream, self.limits.write_timeout)),
            TowerToHyperService::new(service),
        );
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    struct Fixture {
        address: std::net::SocketAddr,
        stop: CancellationToken,
        served: tokio::task::JoinHandle<()>,
        entered: Arc<Notify>,
        leave: Arc<Notify>,
    }

    async fn start(limits: ServerLimits) -> Fixture {
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let waits = (Arc::clone(&entered), Arc::clone(&leave));
        let slow = move || async move {
            waits.0.notify_one();
            waits.1.notified().await;
            "slow"
        };
        let router = Router::new()
            .route("/", axum::routing::get(|| async { "quick" }))
            .route("/slow", axum::routing::get(slow));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, router, limits, stop.clone()));
        Fixture { address, stop, served, entered, leave }
    }

    fn limits(header_ms: u64, drain_ms: u64) -> ServerLimits {
        ServerLimits {
            connections: 2,
            per_address: 2,
            write_timeout: Duration::from_millis(drain_ms),
            header_timeout: Duration::from_millis(header_ms),
            drain: Duration::from_millis(drain_ms),
        }
    }

    async fn ask(address: std::net::SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// All that comes until the server closes.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        // A connection that is cut off may be reset.
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn slow_and_silent_clients_are_dropped() {
        let server = start(limits(50, 1_000)).await;
        for head in ["", "P", "PRI * HTTP/2.0", "GET / HTTP/1.1\r\nHost: a\r\n"] {
            let answer = rest(ask(server.address, head).await).await;
            assert!(!answer.contains("200 OK"), "{head:?}: {answer}");
        }
        let answer = rest(ask(server.address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await).await;
        assert!(answer.contains("200 OK") && answer.ends_with("quick"), "{answer}");
    }

    #[tokio::test]
    async fn open_requests_are_finished() {
        let server = start(limits(5_000, 5_000)).await;
        let stream = ask(server.address, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let idle = ask(server.address, "").await;
        server.entered.notified().await;
        server.stop.cancel();
        assert_eq!(rest(idle).await, "", "a connection without a request is closed");
        server.leave.notify_one();
        let answer = rest(stream).await;
        assert!(answer.ends_with("slow"), "{answer}");
        server.served.await.unwrap();
        assert!(TcpStream::connect(server.address).await.is_err(), "the listener is closed");
    }

    #[tokio::test]
    async fn what_outlives_the_drain_is_cut_off() {
        let server = start(limits(5_000, 50)).await;
        let stream = ask(server.address, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        server.entered.notified().await;
        server.stop.cancel();
        server.served.await.unwrap();
        assert_eq!(rest(stream).await, "");
    }

    #[tokio::test]
    async fn more_connections_wait() {
        let server = start(limits(5_000, 50)).await;
        let (one, other) = (ask(server.address, "").await, ask(server.address, "").await);
        let mut third = ask(server.address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let early = timeout(Duration::from_millis(100), third.read_u8()).await;
        assert!(early.is_err(), "there is no place yet");
        drop((one, other));
        assert_eq!(third.read_u8().await.unwrap(), b'H');
    }
}

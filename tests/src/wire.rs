//! A way to a server that breaks as it is told: cut after so many bytes, reset
//! at some byte, slow, or closed in one direction.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

/// What the way does with what passes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// All connections are reset after so many more bytes to the server.
    CutThere(u64),
    /// All connections are reset after so many more bytes from the server.
    CutBack(u64),
    /// Each connection is reset after so many bytes in one direction.
    ResetEach(u64),
    /// Only so many bytes at a time pass, and then nothing for this long.
    Slow(usize, Duration),
    /// Nothing passes, and nobody is told.
    Silence,
}

/// A way to a server.
#[derive(Debug)]
pub struct Wire {
    /// The port of its near end, on loopback.
    pub port: u16,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    trouble: watch::Sender<Trouble>,
    there: AtomicU64,
    back: AtomicU64,
    broken: Notify,
    breaks: AtomicU64,
}

impl Wire {
    /// A way to the server at `server`.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            trouble: watch::channel(Trouble::None).0,
            there: AtomicU64::new(0),
            back: AtomicU64::new(0),
            broken: Notify::new(),
            breaks: AtomicU64::new(0),
        });
        let own = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let own = Arc::clone(&own);
                tokio::spawn(async move {
                    // A connection that breaks is what this is for.
                    let _ = carry(client, server, own).await;
                });
            }
        });
        Ok(Self { port, shared, _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// A way to the database at `url`, and the URL by this way.
    pub async fn to_database(url: &str) -> Result<(Self, String)> {
        let config: tokio_postgres::Config = url.parse()?;
        let port = config.get_ports().first().copied().context("the URL names a port")?;
        let wire = Self::start(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        let url = url.replace(&format!(":{port}"), &format!(":{}", wire.port));
        Ok((wire, url))
    }

    /// From now on, this; bytes are counted anew.
    pub fn set(&self, trouble: Trouble) {
        self.shared.there.store(0, Ordering::SeqCst);
        self.shared.back.store(0, Ordering::SeqCst);
        self.shared.trouble.send_replace(trouble);
    }

    /// How many bytes went to the server and came back since the last [`Wire::set`].
    pub fn bytes(&self) -> (u64, u64) {
        (self.shared.there.load(Ordering::SeqCst), self.shared.back.load(Ordering::SeqCst))
    }

    /// How many connections were broken.
    pub fn breaks(&self) -> u64 {
        self.shared.breaks.load(Ordering::SeqCst)
    }
}

async fn carry(client: TcpStream, server: SocketAddr, shared: Arc<Shared>) -> Result<()> {
    let server = TcpStream::connect(server).await?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
        // A connection that is dropped is reset, not closed in order.
        end.set_zero_linger()?;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = Box::pin(pass(from_client, to_server, &shared, true));
    let back = Box::pin(pass(from_server, to_client, &shared, false));
    tokio::select! {
        result = there => result?,
        result = back => result?,
        () = shared.broken.notified() => {}
    }
    Ok(())
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, forth: bool) -> Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut trouble = shared.trouble.subscribe();
    let counter = if forth { &shared.there } else { &shared.back };
    let mut own = 0;
    loop {
        let slow = match *trouble.borrow_and_update() {
            Trouble::Slow(most, every) => Some((most, every)),
            _ => None,
        };
        let most = slow.map_or(buffer.len(), |(most, _)| most.min(buffer.len()));
        let count = from.read(&mut buffer[..most]).await?;
        if count == 0 {
            return Ok(());
        }
        // What was read while the trouble changed is judged by the new one.
        let now = *trouble.borrow_and_update();
        let passed = counter.load(Ordering::SeqCst);
        let room = match now {
            Trouble::CutThere(after) if forth => after.saturating_sub(passed),
            Trouble::CutBack(after) if !forth => after.saturating_sub(passed),
            Trouble::ResetEach(after) => after.saturating_sub(own),
            _ => u64::MAX,
        };
        if now == Trouble::Silence {
            trouble.wait_for(|trouble| *trouble != Trouble::Silence).await?;
        }
        let allowed = usize::try_from(room).unwrap_or(usize::MAX).min(count);
        to.write_all(&buffer[..allowed]).await?;
        counter.fetch_add(allowed as u64, Ordering::SeqCst);
        own += allowed as u64;
        if allowed < count {
            shared.breaks.fetch_add(1, Ordering::SeqCst);
            if !matches!(now, Trouble::ResetEach(_)) {
                shared.broken.notify_waiters();
            }
            return Ok(());
        }
        if let Some((_, every)) = slow {
            let mut tick = tokio::time::interval(every);
            tick.tick().await;
            tick.tick().await;
        }
    }
}

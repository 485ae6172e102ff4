//! A proxy between the engine and PostgreSQL that can do to bytes whatever
//! networks do to them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::pause;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the engine to the server.
    Up,
    /// From the server to the engine.
    Down,
}

/// What happens to the bytes of every connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    #[default]
    Fair,
    /// They come one in each such time.
    Trickle(Duration),
    /// They come so much later.
    Late(Duration),
    /// They never come, and nobody says so.
    Lost,
    /// Notifications never come; everything else does.
    NoNews,
}

/// A connection is to end at a certain point, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// With a reset, when so many more bytes have passed this way.
    Bytes(Way, u64),
    /// With an end of the stream one way, when so many more bytes have passed this way.
    HalfClose(Way, u64),
    /// With a reset, instead of passing a COMMIT on.
    BeforeCommit,
    /// With a reset, when the server has answered a COMMIT, and the answer is kept back.
    AfterCommit,
}

/// The proxy. It ends, with its connections, when this is dropped.
#[derive(Debug)]
pub struct Wire {
    /// The port on loopback where it listens.
    pub port: u16,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    weather: watch::Sender<Weather>,
    /// Rises when all connections are to end.
    reset: watch::Sender<u64>,
    plan: Mutex<Plan>,
    /// Whether messages are followed: then none passes before it is whole.
    reads: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    cut: Option<Cut>,
    /// Whether the COMMIT that is to be cut was seen, so that its answer is next.
    committing: bool,
    up: u64,
    down: u64,
}

/// What is to be done with some bytes.
enum Fate {
    Pass,
    /// Pass so many, then reset.
    Reset(usize),
    /// Pass so many, then end this way.
    End(usize),
}

impl Wire {
    /// In front of the server on this port of loopback.
    pub async fn before(server: u16) -> Result<Self> {
        Self::start(server, false).await
    }

    /// The same, and it knows where messages end, which [`Weather::NoNews`] needs.
    pub async fn reading(server: u16) -> Result<Self> {
        Self::start(server, true).await
    }

    async fn start(server: u16, reads: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            weather: watch::channel(Weather::Fair).0,
            reset: watch::channel(0).0,
            plan: Mutex::default(),
            reads,
        });
        let server = AbortOnDropHandle::new(tokio::spawn(serve(listener, server, Arc::clone(&shared))));
        Ok(Self { port, shared, _server: server })
    }

    /// The same URL with this proxy's port.
    pub fn url(&self, direct: &str) -> String {
        let (head, tail) = direct.rsplit_once('/').unwrap_or((direct, ""));
        let (head, _) = head.rsplit_once(':').unwrap_or((head, ""));
        format!("{head}:{}/{tail}?sslmode=disable", self.port)
    }

    /// Changes the weather, also over connections that exist.
    pub fn weather(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    /// Ends all connections with a reset.
    pub fn reset_all(&self) {
        self.shared.reset.send_modify(|times| *times += 1);
    }

    /// Prepares a cut, and begins to count bytes.
    pub fn cut(&self, cut: Option<Cut>) {
        *self.shared.plan() = Plan { cut, ..Plan::default() };
    }

    /// Whether a cut is still to come.
    pub fn is_armed(&self) -> bool {
        self.shared.plan().cut.is_some()
    }

    /// The bytes that passed since the last [`Self::cut`]: up and down.
    pub fn passed(&self) -> (u64, u64) {
        let plan = self.shared.plan();
        (plan.up, plan.down)
    }
}

impl Shared {
    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fate(&self, way: Way, bytes: &[u8]) -> Fate {
        let mut plan = self.plan();
        let count = if way == Way::Up { &mut plan.up } else { &mut plan.down };
        let before = *count;
        *count += bytes.len() as u64;
        let after = *count;
        let fate = match plan.cut {
            Some(Cut::Bytes(cut, at)) if cut == way && after > at => Fate::Reset((at - before) as usize),
            Some(Cut::HalfClose(cut, at)) if cut == way && after > at => Fate::End((at - before) as usize),
            Some(Cut::BeforeCommit) if way == Way::Up && is_commit(bytes) => Fate::Reset(0),
            Some(Cut::AfterCommit) if way == Way::Up && is_commit(bytes) => {
                plan.committing = true;
                Fate::Pass
            }
            Some(Cut::AfterCommit) if way == Way::Down && plan.committing => Fate::Reset(0),
            _ => Fate::Pass,
        };
        if !matches!(fate, Fate::Pass) {
            plan.cut = None;
        }
        fate
    }
}

/// Whether a simple query among these bytes commits.
fn is_commit(bytes: &[u8]) -> bool {
    bytes.windows(7).any(|part| part.eq_ignore_ascii_case(b"COMMIT\0"))
}

async fn serve(listener: TcpListener, server: u16, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((engine, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let address = SocketAddr::from(([127, 0, 0, 1], server));
            if let Ok(server) = TcpStream::connect(address).await {
                carry(engine, server, &shared).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Carries bytes both ways until an end; then the sockets close.
async fn carry(engine: TcpStream, server: TcpStream, shared: &Shared) {
    let mut reset = shared.reset.subscribe();
    // A socket that is dropped with this set sends a reset instead of an end.
    let _ = engine.set_zero_linger();
    let _ = server.set_zero_linger();
    let (from_engine, to_engine) = engine.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = both(pass(from_engine, to_server, Way::Up, shared), pass(from_server, to_engine, Way::Down, shared)) => {}
        _ = reset.changed() => {}
    }
}

/// Until both have ended, or one of them says that all is over.
async fn both(up: impl Future<Output = Over>, down: impl Future<Output = Over>) {
    tokio::pin!(up, down);
    tokio::select! {
        over = &mut up => if matches!(over, Over::ThisWay) { down.await; },
        over = &mut down => if matches!(over, Over::ThisWay) { up.await; },
    }
}

enum Over {
    /// The other way may go on.
    ThisWay,
    All,
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, shared: &Shared) -> Over {
    let mut weather = shared.weather.subscribe();
    let mut buffer = vec![0; 16_384];
    let mut framing = Framing::default();
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return Over::All,
            Ok(count) => count,
        };
        let bytes = &buffer[..count];
        let (bytes, then) = match shared.fate(way, bytes) {
            Fate::Pass => (bytes, None),
            Fate::Reset(count) => (&bytes[..count], Some(Over::All)),
            Fate::End(count) => (&bytes[..count], Some(Over::ThisWay)),
        };
        let now = *weather.borrow_and_update();
        let kept;
        let bytes = if way == Way::Down && shared.reads {
            kept = framing.without_news(bytes, now == Weather::NoNews);
            &kept
        } else {
            bytes
        };
        if send(&mut to, bytes, now, &mut weather).await.is_err() {
            return Over::All;
        }
        if let Some(over) = then {
            return over;
        }
    }
}

async fn send(
    to: &mut OwnedWriteHalf,
    bytes: &[u8],
    now: Weather,
    weather: &mut watch::Receiver<Weather>,
) -> Result<()> {
    match now {
        Weather::Fair | Weather::NoNews => {}
        Weather::Late(time) => pause(time).await,
        Weather::Lost => {
            // What was lost stays lost; the connection is of no use any more.
            std::future::pending::<()>().await;
        }
        Weather::Trickle(each) => {
            for (at, byte) in bytes.iter().enumerate() {
                if *weather.borrow() != now {
                    to.write_all(&bytes[at..]).await?;
                    return Ok(());
                }
                to.write_all(std::slice::from_ref(byte)).await?;
                pause(each).await;
            }
            return Ok(());
        }
    }
    to.write_all(bytes).await?;
    Ok(())
}

/// Where messages of the server begin and end.
#[derive(Debug, Default)]
struct Framing {
    rest: Vec<u8>,
}

impl Framing {
    /// The whole messages so far, without notifications if they are to be kept back.
    fn without_news(&mut self, bytes: &[u8], keep_back: bool) -> Vec<u8> {
        const HEAD: usize = 5;
        self.rest.extend_from_slice(bytes);
        let mut passed = Vec::with_capacity(self.rest.len());
        let mut at = 0;
        while self.rest.len() - at >= HEAD {
            let length = [1, 2, 3, 4].map(|place| self.rest[at + place]);
            let end = at + 1 + u32::from_be_bytes(length) as usize;
            if end > self.rest.len() {
                break;
            }
            if !(keep_back && self.rest[at] == b'A') {
                passed.extend_from_slice(&self.rest[at..end]);
            }
            at = end;
        }
        self.rest.drain(..at);
        passed
    }
}

//! News between the parts of one process, and between processes by NOTIFY.
//!
//! Inside the process a nudge arrives at once. To the other processes a speaker
//! passes it on: one NOTIFY at a time, with a pause behind each, carries all
//! topics that were nudged meanwhile, because every NOTIFY takes a lock that all
//! others in the database wait for. A listener turns what other processes say
//! into nudges of this one.
//!
//! Where a commit made room under a limit, only the store knows of it: it tells
//! here, because a worker that the limit held back waits, maybe in another process.
//!
//! News may get lost with a connection; whoever waits for it also looks by
//! itself. After a gap the listener nudges every topic once. Each of the two has
//! a connection of its own, tries again with growing pauses while the database
//! is away, and ends with the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection};
use taskflow_application::memory::LocalWakeups;
use taskflow_application::ports::{Topic, Wakeups};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::PostgresStore;

/// The channel of all processes of one database.
const CHANNEL: &str = "taskflow";
/// Between two NOTIFYs of one process.
const GAP: Duration = Duration::from_millis(5);
/// An answer that takes longer will not come: the connection is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so much silence the listener asks whether its connection still lives.
const SILENCE: Duration = Duration::from_secs(15);
/// The pauses between attempts to connect grow from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The topics with their letters in a message and their bits among the pending.
const TOPICS: [(Topic, char, u8); 3] =
    [(Topic::Work, 'w', 1), (Topic::Schedule, 's', 2), (Topic::Cancel, 'c', 4)];

/// News for this process, and for all processes that work on the same database.
#[derive(Debug)]
pub struct PgWakeups(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    local: LocalWakeups,
    /// The bits of the topics that the other processes have not been told of yet.
    pending: AtomicU8,
    told: Notify,
    /// The server's process that speaks for this one, by which the listener
    /// knows its own news; 0 for none.
    speaker: AtomicI32,
}

impl PgWakeups {
    /// Starts speaking and listening, until `stop`. Needs a runtime; the database
    /// may be away.
    pub fn start(store: &PostgresStore, stop: CancellationToken) -> Arc<Self> {
        let shared = Arc::new(Shared::default());
        // A NOTIFY needs no more than the others' attention: it need not be on disk.
        let speaker = Speaker {
            shared: Arc::clone(&shared),
            options: store.connect_options().options([("synchronous_commit", "off")]),
            connection: None,
        };
        let listener = Listener { shared: Arc::clone(&shared), options: store.connect_options() };
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(speaker.run()).await });
        let (all, room, stopped) = (Self(Arc::clone(&shared)), Arc::clone(&store.inner.room), stop.clone());
        let room = async move {
            loop {
                room.notified().await;
                all.nudge(Topic::Work);
            }
        };
        tokio::spawn(async move { stopped.run_until_cancelled(room).await });
        tokio::spawn(async move { stop.run_until_cancelled(Box::pin(listener.run())).await });
        Arc::new(Self(shared))
    }
}

impl Wakeups for PgWakeups {
    fn nudge(&self, topic: Topic) {
        self.0.local.nudge(topic);
        let bits = TOPICS.into_iter().filter(|known| known.0 == topic).fold(0, |bits, known| bits | known.2);
        self.0.pending.fetch_or(bits, Ordering::AcqRel);
        self.0.told.notify_one();
    }

    fn listen(&self, topic: Topic) -> watch::Receiver<u64> {
        self.0.local.listen(topic)
    }
}

/// The pauses of a loop that fails.
#[derive(Debug)]
struct Pauses(Duration);

impl Pauses {
    fn new() -> Self {
        Self(PAUSES.0)
    }

    async fn pause(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSES.1);
    }
}

/// Any connection that takes too long has failed.
async fn patiently<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    timeout(PATIENCE, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Tells the other processes.
struct Speaker {
    shared: Arc<Shared>,
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Speaker {
    async fn run(mut self) {
        let mut pauses = Pauses::new();
        loop {
            self.shared.told.notified().await;
            let bits = self.shared.pending.swap(0, Ordering::AcqRel);
            if bits == 0 {
                continue;
            }
            match patiently(self.speak(bits)).await {
                Ok(()) => {
                    pauses = Pauses::new();
                    sleep(GAP).await;
                }
                Err(fault) => {
                    tracing::debug!(%fault, "other processes could not be told the news");
                    // A broken connection is left to fall, not closed with courtesy.
                    self.connection = None;
                    self.shared.speaker.store(0, Ordering::Release);
                    self.shared.pending.fetch_or(bits, Ordering::AcqRel);
                    self.shared.told.notify_one();
                    pauses.pause().await;
                }
            }
        }
    }

    async fn speak(&mut self, bits: u8) -> sqlx::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let mut connection = self.options.connect().await?;
                let pid: i32 =
                    sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
                self.shared.speaker.store(pid, Ordering::Release);
                none.insert(connection)
            }
        };
        sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(message(bits)).execute(connection).await?;
        Ok(())
    }
}

/// The letters of the topics of `bits`.
fn message(bits: u8) -> String {
    TOPICS.into_iter().filter(|topic| bits & topic.2 != 0).map(|topic| topic.1).collect()
}

/// The topics of a message. What a later version may say besides is not heard.
fn topics(message: &str) -> impl Iterator<Item = Topic> {
    TOPICS.into_iter().filter(|topic| message.contains(topic.1)).map(|topic| topic.0)
}

/// Hears the other processes.
struct Listener {
    shared: Arc<Shared>,
    options: PgConnectOptions,
}

impl Listener {
    async fn run(self) {
        let mut pauses = Pauses::new();
        let mut away = false;
        loop {
            let fault = match patiently(self.connect()).await {
                Ok(listener) => {
                    if away {
                        tracing::info!("listening to the news of other processes again");
                        away = false;
                    }
                    self.nudge_all();
                    self.hear(listener, &mut pauses).await
                }
                Err(fault) => fault,
            };
            if !away {
                tracing::warn!(%fault, "no news of other processes; work is found by looking meanwhile");
                away = true;
            }
            pauses.pause().await;
        }
    }

    async fn connect(&self) -> sqlx::Result<PgListener> {
        // The driver's listener insists on a pool, so it gets one of its own,
        // which fails at once where the pool of the store would wait for a free
        // connection. It must not reconnect by itself: this loop has to know of gaps.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }

    /// Hears until the connection fails. Every sign of its life makes the next
    /// pause short again.
    async fn hear(&self, mut listener: PgListener, pauses: &mut Pauses) -> sqlx::Error {
        loop {
            match timeout(SILENCE, listener.try_recv()).await {
                Ok(Ok(Some(notification))) => self.pass_on(&notification),
                Ok(Ok(None)) => return sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into()),
                Ok(Err(fault)) => return fault,
                // A connection whose other end vanished stays silent for ever.
                Err(_) => {
                    if let Err(fault) = patiently(sqlx::query("select 1").execute(&mut listener)).await {
                        return fault;
                    }
                }
            }
            *pauses = Pauses::new();
        }
    }

    fn pass_on(&self, notification: &PgNotification) {
        if i32::try_from(notification.process_id()) == Ok(self.shared.speaker.load(Ordering::Acquire)) {
            return;
        }
        for topic in topics(notification.payload()) {
            self.shared.local.nudge(topic);
        }
    }

    fn nudge_all(&self) {
        for (topic, ..) in TOPICS {
            self.shared.local.nudge(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back() {
        for bits in 1..8 {
            let heard: Vec<_> = topics(&message(bits)).collect();
            let said = TOPICS.into_iter().filter(|topic| bits & topic.2 != 0).map(|topic| topic.0);
            assert_eq!(heard, said.collect::<Vec<_>>());
        }
        assert_eq!(topics("x").count(), 0);
    }
}

//! Time, identity, chance, and the news that there is work.

use taskflow_domain::{JobId, Timestamp};
use tokio::sync::watch;

/// What time it is: the database's clock where several processes share one.
pub trait Clock: Send + Sync {
    /// Now, in whole microseconds.
    fn now(&self) -> Timestamp;
}

/// New identities.
pub trait Ids: Send + Sync {
    /// A job's id: a `UUIDv7` of `now`, greater than every earlier one of this process.
    fn job(&self, now: Timestamp) -> JobId;
    /// 48 random bits for lease tokens.
    fn nonce(&self) -> u64;
    /// 16 random bytes for ids of traces and the like.
    fn bytes(&self) -> [u8; 16];
}

/// Chance.
pub trait Jitter: Send + Sync {
    /// Uniform in 0.0..1.0.
    fn random(&self) -> f64;
}

/// What the news is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Jobs became claimable, or a limit got room.
    Work,
    /// A scheduled job may be due earlier than all others.
    Schedule,
    /// The end of a running job was asked for.
    Cancel,
}

/// News between the parts of one process, and between processes.
///
/// News may be lost, doubled or late: everything that waits for it also looks
/// by itself now and then. In one process it arrives at once.
pub trait Wakeups: Send + Sync {
    /// Tells everybody who waits. Never blocks; call it after the commit.
    fn nudge(&self, topic: Topic);
    /// A receiver whose value changes with each nudge.
    fn listen(&self, topic: Topic) -> watch::Receiver<u64>;
}

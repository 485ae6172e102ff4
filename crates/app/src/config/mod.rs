//! What the process was told: flags over environment over `taskflow.toml` over
//! defaults, read once, checked whole.
//!
//! Every setting stands in one table ([`setting`]), from which flags, help,
//! checks and `taskflow config` follow. All faults are reported together, each
//! with the place that it came from and with what would be right there.

mod check;
mod fault;
mod file;
mod layers;
mod parse;
mod setting;
mod show;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use taskflow_adapters::telemetry::LogFormat;
use taskflow_application::automation::EventRetention;
use taskflow_application::maintain::Retention;

pub(crate) use fault::Faults;
pub(crate) use layers::Layers;
pub(crate) use setting::{flags, given, hidden};
pub(crate) use show::show;

/// Which database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Database {
    /// Where it is.
    pub(crate) url: DatabaseUrl,
    /// How many connections this process may hold.
    pub(crate) connections: u32,
}

/// Where a database is, by its kind.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum DatabaseUrl {
    /// A PostgreSQL server.
    Postgres(String),
    /// A file.
    Sqlite(String),
}

/// The HTTP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Http {
    /// Where the API listens.
    pub(crate) listen: SocketAddr,
    /// Where `taskflow worker` answers for its health, if at all.
    pub(crate) worker_listen: Option<SocketAddr>,
    /// Connections that one address may hold.
    pub(crate) per_address: usize,
}

/// A text that is not to be seen.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Who is asked for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Auth {
    /// Whether callers need a key.
    pub(crate) on: bool,
    /// A key that an operator has before any is made.
    pub(crate) operator_key: Option<Secret>,
}

/// What seals the secrets of rules.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Secrets {
    /// The keys, the current one first.
    pub(crate) keys: Vec<SealingKey>,
}

/// A key that is not to be seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealingKey(pub(crate) [u8; 32]);

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The engine's own worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Worker {
    /// Jobs that it runs at once.
    pub(crate) concurrency: u32,
    /// How long a lease lasts without a heartbeat, in milliseconds.
    pub(crate) lease_ms: u64,
}

/// What HTTP targets may reach although it is private.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Egress {
    /// Networks in CIDR notation, as they were given.
    pub(crate) allow: Vec<ipnet::IpNet>,
}

/// What is written to standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logs {
    /// Which events, as in `RUST_LOG`.
    pub(crate) filter: String,
    /// In which form.
    pub(crate) format: LogFormat,
}

/// Everything that is in force.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// Which database.
    pub(crate) database: Database,
    /// The HTTP listener.
    pub(crate) http: Http,
    /// Who is asked for a key.
    pub(crate) auth: Auth,
    /// The engine's own worker.
    pub(crate) worker: Worker,
    /// What HTTP targets may reach.
    pub(crate) egress: Egress,
    /// What seals the secrets of rules.
    pub(crate) secrets: Secrets,
    /// How long ended jobs are kept.
    pub(crate) retention: Retention,
    /// How long events and firings are kept.
    pub(crate) events: EventRetention,
    /// Rules that one tenant may have.
    pub(crate) most_rules: u32,
    /// How long running work gets after SIGTERM.
    pub(crate) shutdown: Duration,
    /// What is written to standard output.
    pub(crate) logs: Logs,
    /// Where traces are sent, if they are made.
    pub(crate) traces: Option<String>,
}

/// What a command needs of the configuration beyond what every command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing that this command uses can be wrong.
    Nothing,
    /// It listens for callers.
    Listener,
    /// It is one of several processes on one database.
    SharedDatabase,
    /// It listens, and is one of several processes.
    SharedListener,
}

impl Config {
    /// What is in force for a command with this need, or all that is wrong.
    pub(crate) fn read(layers: &Layers, need: Need) -> Result<Self, Faults> {
        check::read(layers, need)
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Postgres(url) | Self::Sqlite(url)) = self;
        f.write_str(&show::without_password(url))
    }
}

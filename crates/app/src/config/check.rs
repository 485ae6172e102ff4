//! Reads every setting and then what settings mean together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use taskflow_application::automation::EventRetention;
use taskflow_application::maintain::Retention;

use super::fault::Fault;
use super::layers::Layers;
use super::setting::{self, Setting};
use super::{Auth, Config, Database, DatabaseUrl, Egress, Faults, Http, Logs, Need, Secrets, Worker, parse};

const HOUR_MS: i64 = 3_600_000;

const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

/// See [`Config::read`].
pub(super) fn read(layers: &Layers, need: Need) -> Result<Config, Faults> {
    let mut reader = Reader { layers, faults: layers.faults.clone() };
    let config = reader.config();
    if let Some(config) = &config {
        reader.together(config, need);
    }
    match config {
        Some(config) if reader.faults.is_empty() => Ok(config),
        _ => Err(Faults(reader.faults)),
    }
}

/// Where traces are sent, if they are made.
struct Traces {
    endpoint: Option<String>,
}

struct Reader<'a> {
    layers: &'a Layers,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    /// Reads everything before it gives up, so that all faults are found.
    fn config(&mut self) -> Option<Config> {
        let database = self.database();
        let http = self.http();
        let worker = self.worker();
        let egress = self.one(&setting::EGRESS_ALLOW, parse::networks);
        let retention = self.retention();
        let events = self.events();
        let most_rules = self.one(&setting::MOST_RULES, parse::number(1..=1_000_000));
        let keys = self.one(&setting::SECRETS_KEY, parse::sealing_keys);
        let shutdown = self.one(&setting::SHUTDOWN_MS, parse::number(0..=3_600_000));
        let logs = self.logs();
        let traces = self.traces();
        let grpc = self.one(&setting::GRPC_LISTEN, parse::address);
        let auth = self.auth();
        grpc?;
        let (http, auth) = (http?, auth?);
        Some(Config {
            database: database?,
            egress: Egress { allow: reachable(egress?, http.listen, auth.on) },
            http,
            auth,
            worker: worker?,
            secrets: Secrets { keys: keys? },
            retention: retention?,
            events: events?,
            most_rules: u32::try_from(most_rules?).ok()?,
            shutdown: Duration::from_millis(shutdown?),
            logs: logs?,
            traces: traces?.endpoint,
        })
    }

    fn database(&mut self) -> Option<Database> {
        let url = self.one(&setting::DATABASE_URL, parse::database_url);
        let connections = self.one(&setting::DATABASE_CONNECTIONS, parse::number(2..=1_000));
        Some(Database { url: url?, connections: u32::try_from(connections?).ok()? })
    }

    fn http(&mut self) -> Option<Http> {
        let listen = self.one(&setting::LISTEN, parse::address);
        let worker_listen = self.one(&setting::WORKER_LISTEN, parse::address_or_off);
        let per_address = self.one(&setting::PER_ADDRESS, parse::number(1..=10_000));
        Some(Http {
            listen: listen?,
            worker_listen: worker_listen?,
            per_address: usize::try_from(per_address?).ok()?,
        })
    }

    fn worker(&mut self) -> Option<Worker> {
        let concurrency = self.one(&setting::CONCURRENCY, parse::number(1..=10_000));
        let lease_ms = self.one(&setting::LEASE_MS, parse::number(1_000..=3_600_000));
        Some(Worker { concurrency: u32::try_from(concurrency?).ok()?, lease_ms: lease_ms? })
    }

    fn retention(&mut self) -> Option<Retention> {
        let mut read = |setting| {
            let hours = self.one(setting, parse::number(1..=876_000))?;
            i64::try_from(hours).ok().map(|hours| hours * HOUR_MS)
        };
        let succeeded = read(&setting::SUCCEEDED_HOURS);
        let failed = read(&setting::FAILED_HOURS);
        let dead = read(&setting::DEAD_HOURS);
        let cancelled = read(&setting::CANCELLED_HOURS);
        Some(Retention {
            succeeded_ms: succeeded?,
            failed_ms: failed?,
            dead_ms: dead?,
            cancelled_ms: cancelled?,
        })
    }

    fn events(&mut self) -> Option<EventRetention> {
        let mut read = |setting| {
            let hours = self.one(setting, parse::number(1..=876_000))?;
            i64::try_from(hours).ok().map(|hours| hours * HOUR_MS)
        };
        let (events, firings) = (read(&setting::EVENTS_HOURS), read(&setting::FIRINGS_HOURS));
        Some(EventRetention { events_ms: events?, firings_ms: firings? })
    }

    fn logs(&mut self) -> Option<Logs> {
        let filter = self.one(&setting::LOG_FILTER, parse::log_filter);
        let format = self.one(&setting::LOG_FORMAT, parse::log_format);
        Some(Logs { filter: filter?, format: format? })
    }

    /// Where traces are sent: the whole URL if it is given, else that of the collector with its path.
    fn traces(&mut self) -> Option<Traces> {
        let whole = self.one(&setting::OTLP_TRACES_ENDPOINT, parse::endpoint);
        let collector = self.one(&setting::OTLP_ENDPOINT, parse::endpoint);
        let path = |collector: String| format!("{}/v1/traces", collector.trim_end_matches('/'));
        let collector = collector?.map(path);
        Some(Traces { endpoint: whole?.or(collector) })
    }

    fn auth(&mut self) -> Option<Auth> {
        let on = self.one(&setting::AUTH, parse::auth);
        let operator_key = self.one(&setting::OPERATOR_KEY, parse::operator_key);
        Some(Auth { on: on?, operator_key: operator_key? })
    }

    /// What each setting alone cannot say.
    fn together(&mut self, config: &Config, need: Need) {
        let allowed = self.one(&setting::ALLOW_UNAUTHENTICATED, parse::truth).unwrap_or_default();
        let listens = matches!(need, Need::Listener | Need::SharedListener);
        if listens && !config.auth.on && !config.http.listen.ip().is_loopback() && !allowed {
            self.fault(
                &setting::LISTEN,
                format!("{} is open to other machines, but callers need no key", config.http.listen),
                "TASKFLOW_AUTH=on; or an address on loopback, as 127.0.0.1:8080; or --allow-unauthenticated, if \
                 only trusted callers can reach the listener",
            );
        }
        let shared = matches!(need, Need::SharedDatabase | Need::SharedListener);
        if shared && matches!(config.database.url, DatabaseUrl::Sqlite(_)) {
            self.fault(
                &setting::DATABASE_URL,
                "an SQLite file serves one process, and this command is one of several".to_owned(),
                "postgres://USER:PASSWORD@HOST:PORT/DATABASE; or `taskflow up`, which does everything in one \
                 process",
            );
        }
    }

    fn one<T>(&mut self, setting: &Setting, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        parse(&self.layers.get(setting).text).map_err(|wrong| self.fault(setting, wrong, setting.value)).ok()
    }

    fn fault(&mut self, setting: &Setting, wrong: String, right: &str) {
        let origin = self.layers.get(setting).origin;
        self.faults.push(Fault { origin, key: Some(setting.key), wrong, right: right.to_owned() });
    }
}

/// A server that only this machine can reach, and that asks nobody for a key,
/// is one to try things out on: there, targets may be on this machine too.
fn reachable(mut allow: Vec<IpNet>, listen: SocketAddr, auth: bool) -> Vec<IpNet> {
    if listen.ip().is_loopback() && !auth {
        allow.push(IpNet::V4(LOOPBACK));
        allow.push(IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)));
    }
    allow
}

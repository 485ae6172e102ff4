//! The table of all settings.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

/// One setting: its names in each layer, and what it is without them.
#[derive(Debug)]
pub(super) struct Setting {
    /// In the environment; empty for a decision that has to stand on the command line.
    pub(super) env: &'static str,
    /// In `taskflow.toml`: section and key. It also is the name in `taskflow config`.
    pub(super) key: &'static str,
    /// On the command line, without the dashes; empty for what must not be seen there.
    pub(super) flag: &'static str,
    /// Unless it is given.
    pub(super) default: &'static str,
    /// Whether it is never shown: what must not be seen on the command line either.
    pub(super) secret: bool,
    /// What a value looks like, in help and in faults.
    pub(super) value: &'static str,
    /// What it is.
    pub(super) help: &'static str,
}

macro_rules! settings {
    ($($name:ident: $env:literal, $key:literal, $flag:literal, $default:literal, $value:literal, $help:literal;)*) => {
        $(pub(super) static $name: Setting = Setting {
            env: $env, key: $key, flag: $flag, default: $default, value: $value, help: $help,
            secret: $flag.is_empty(),
        };)*
        /// All settings, in the order in which they are shown.
        pub(super) static ALL: &[&Setting] = &[$(&$name),*];
    };
}

settings! {
    DATABASE_URL: "DATABASE_URL", "database.url", "database-url", "sqlite://taskflow.db",
        "sqlite://FILE or postgres://USER:PASSWORD@HOST:PORT/DATABASE", "The database";
    DATABASE_CONNECTIONS: "TASKFLOW_DATABASE_CONNECTIONS", "database.connections", "database-connections", "20",
        "a number from 2 to 1000", "Connections to PostgreSQL that this process may hold";
    LISTEN: "TASKFLOW_LISTEN", "http.listen", "listen", "127.0.0.1:8080",
        "ADDRESS:PORT, as 127.0.0.1:8080 or [::1]:8080", "Where the API listens";
    WORKER_LISTEN: "TASKFLOW_WORKER_LISTEN", "http.worker_listen", "worker-listen", "127.0.0.1:8081",
        "ADDRESS:PORT, or off", "Where `taskflow worker` answers for its health and metrics";
    PER_ADDRESS: "TASKFLOW_MAX_CONNECTIONS_PER_ADDRESS", "http.max_per_address", "max-connections-per-address", "2000",
        "a number from 1 to 10000", "Connections that one address may hold; behind a proxy, all callers have its address";
    GRPC_LISTEN: "TASKFLOW_GRPC_LISTEN", "grpc.listen", "grpc-listen", "127.0.0.1:50051",
        "ADDRESS:PORT, as 127.0.0.1:50051", "Reserved for the gRPC listener";
    AUTH: "TASKFLOW_AUTH", "auth.mode", "auth", "off",
        "on or off", "Whether callers need a key";
    OPERATOR_KEY: "TASKFLOW_OPERATOR_KEY", "auth.operator_key", "", "",
        "a key of at least 16 characters", "A first operator key";
    SECRETS_KEY: "TASKFLOW_SECRETS_KEY", "secrets.key", "", "",
        "32 bytes in Base64, or several separated by commas", "What seals the secrets of rules, the current key first";
    ALLOW_UNAUTHENTICATED: "", "http.allow_unauthenticated", "allow-unauthenticated", "false",
        "the flag alone", "Listen beyond loopback although callers need no key";
    EGRESS_ALLOW: "TASKFLOW_EGRESS_ALLOW", "egress.allow", "egress-allow", "",
        "networks as 10.1.0.0/16,fd00::/8, separated by commas", "Private networks that HTTP targets may reach";
    CONCURRENCY: "TASKFLOW_WORKER_CONCURRENCY", "worker.concurrency", "worker-concurrency", "100",
        "a number from 1 to 10000", "Jobs that this process runs at once";
    LEASE_MS: "TASKFLOW_LEASE_MS", "worker.lease_ms", "lease-ms", "30000",
        "milliseconds from 1000 to 3600000", "How long a lease lasts without a heartbeat";
    SHUTDOWN_MS: "TASKFLOW_SHUTDOWN_MS", "worker.shutdown_ms", "shutdown-ms", "25000",
        "milliseconds from 0 to 3600000", "How long running work gets after SIGTERM";
    SUCCEEDED_HOURS: "TASKFLOW_RETENTION_SUCCEEDED_HOURS", "retention.succeeded_hours", "retention-succeeded-hours", "168",
        "hours from 1 to 876000", "How long SUCCEEDED jobs are kept";
    FAILED_HOURS: "TASKFLOW_RETENTION_FAILED_HOURS", "retention.failed_hours", "retention-failed-hours", "720",
        "hours from 1 to 876000", "How long FAILED jobs are kept";
    DEAD_HOURS: "TASKFLOW_RETENTION_DEAD_HOURS", "retention.dead_hours", "retention-dead-hours", "720",
        "hours from 1 to 876000", "How long DEAD jobs are kept";
    CANCELLED_HOURS: "TASKFLOW_RETENTION_CANCELLED_HOURS", "retention.cancelled_hours", "retention-cancelled-hours", "720",
        "hours from 1 to 876000", "How long CANCELLED jobs are kept";
    OTLP_ENDPOINT: "OTEL_EXPORTER_OTLP_ENDPOINT", "otlp.endpoint", "otlp-endpoint", "",
        "http://HOST:4318, or nothing", "The OTLP collector to which traces are sent over HTTP; none are made without one";
    OTLP_TRACES_ENDPOINT: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "otlp.traces_endpoint", "otlp-traces-endpoint", "",
        "http://HOST:4318/v1/traces, or nothing", "The same as the whole URL; it comes first";
    EVENTS_HOURS: "TASKFLOW_RETENTION_EVENTS_HOURS", "retention.events_hours", "retention-events-hours", "168",
        "hours from 1 to 876000", "How long events from outside are kept";
    FIRINGS_HOURS: "TASKFLOW_RETENTION_FIRINGS_HOURS", "retention.firings_hours", "retention-firings-hours", "720",
        "hours from 1 to 876000", "How long firings of rules are kept";
    MOST_RULES: "TASKFLOW_MAX_RULES_PER_TENANT", "rules.max_per_tenant", "max-rules-per-tenant", "10000",
        "a number from 1 to 1000000", "Rules that one tenant may have";
    LOG_FORMAT: "TASKFLOW_LOG_FORMAT", "log.format", "log-format", "json",
        "json or text", "The form of log lines; text unless given where standard error is a terminal";
    LOG_FILTER: "RUST_LOG", "log.filter", "log-filter", "info",
        "levels as info or warn,taskflow_adapters=debug", "Which events are logged";
}

/// The flags of all settings, for every command.
pub(crate) fn flags() -> impl Iterator<Item = Arg> {
    let of = |setting: &&'static Setting| {
        let arg = Arg::new(setting.key).long(setting.flag).help(help(setting)).global(true);
        let arg = arg.help_heading("Settings");
        if setting.env.is_empty() { arg.action(ArgAction::SetTrue) } else { arg.value_name("VALUE") }
    };
    ALL.iter().filter(|setting| !setting.flag.is_empty()).map(of)
}

/// What is said in help of the settings that must not be seen on a command line.
pub(crate) fn hidden() -> String {
    let of = |setting: &&&'static Setting| setting.flag.is_empty();
    let lines = ALL.iter().filter(of).map(|setting| {
        let Setting { env, help, value, .. } = setting;
        format!("  {env}\n          {help}: {value}")
    });
    let lines: Vec<_> = lines.collect();
    format!("Only from the environment or the file:\n{}", lines.join("\n\n"))
}

fn help(setting: &Setting) -> String {
    let Setting { help, env, default, .. } = setting;
    let env = if env.is_empty() { String::new() } else { format!(" [env: {env}]") };
    let told = !default.is_empty() && *default != "false";
    let default = if told { format!(" [default: {default}]") } else { String::new() };
    format!("{help}{env}{default}")
}

/// What was given on the command line: the settings' keys and their texts.
pub(crate) fn given(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    let of = |setting: &&'static Setting| {
        // Asking for an argument that does not exist is an error of the program.
        if setting.flag.is_empty() || matches.value_source(setting.key) != Some(ValueSource::CommandLine) {
            None
        } else if setting.env.is_empty() {
            Some((setting.key, matches.get_flag(setting.key).to_string()))
        } else {
            Some((setting.key, matches.get_one::<String>(setting.key)?.clone()))
        }
    };
    ALL.iter().filter_map(of).collect()
}

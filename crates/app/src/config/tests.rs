//! What the layers mean, one above the other.

use std::ffi::OsString;

use serde_json::json;
use taskflow_adapters::telemetry::LogFormat;

use super::show::without_password;
use super::{Config, DatabaseUrl, Layers, Need, show};

fn layers(flags: &[(&'static str, &str)], environment: &[(&str, &str)], file: &str) -> Layers {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taskflow.toml");
    std::fs::write(&path, file).unwrap();
    let flags = flags.iter().map(|(key, text)| (*key, (*text).to_owned())).collect();
    let environment = environment.iter().map(|(name, text)| (OsString::from(name), OsString::from(text)));
    Layers::from_parts(flags, environment, Some(path))
}

fn faults(layers: &Layers, need: Need) -> String {
    let text = Config::read(layers, need).unwrap_err().to_string();
    // The file is in a directory whose name differs each time.
    let line = |line: &str| match line.split_once(std::env::temp_dir().to_str().unwrap()) {
        Some((before, after)) => format!("{before}{}", &after[after.find("taskflow.toml").unwrap()..]),
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn defaults_are_right() {
    let config = Config::read(&layers(&[], &[], ""), Need::Listener).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.database.url, DatabaseUrl::Sqlite("sqlite://taskflow.db".into()));
    assert_eq!((config.worker.concurrency, config.worker.lease_ms), (100, 30_000));
    assert_eq!(config.retention, taskflow_application::maintain::Retention::default());
    assert_eq!(config.egress.allow.len(), 2);
}

#[test]
fn flags_win_over_environment_over_file() {
    let file = "[worker]\nconcurrency = 1\nlease_ms = 2_000\n[http]\nlisten = \"127.0.0.1:1\"\n";
    let environment = [("TASKFLOW_WORKER_CONCURRENCY", "2"), ("TASKFLOW_LISTEN", "127.0.0.1:2")];
    let layers = layers(&[("http.listen", "127.0.0.1:3")], &environment, file);
    let config = Config::read(&layers, Need::Listener).unwrap();
    assert_eq!(config.http.listen.port(), 3);
    assert_eq!((config.worker.concurrency, config.worker.lease_ms), (2, 2_000));
    let shown = show(&layers, false);
    assert!(shown.lines().any(|line| line.starts_with("http.listen") && line.ends_with("flag --listen")));
    assert!(shown.contains("environment TASKFLOW_WORKER_CONCURRENCY"));
    assert!(shown.lines().any(|line| line.starts_with("worker.lease_ms") && line.ends_with("line 3")));
}

#[test]
fn all_faults_are_told_at_once() {
    let file = "[worker]\nconcurency = 5\nlease_ms = 5\n[databse]\nurl = 1\n[egress]\nallow = [1]\n";
    let environment = [
        ("DATABASE_URL", "mysql://u:hunter2@h/d"),
        ("TASKFLOW_AUTH", "maybe"),
        ("TASKFLOW_LISTEN", "here"),
        ("TASKFLOW_OPERATOR_KEY", "short"),
        ("TASKFLOW_EGRESS_ALLOW", "10.0.0.0/8,lan"),
        ("RUST_LOG", "taskflow=loud"),
        ("TASKFLOW_LOG_FORMAT", "xml"),
        ("TASKFLOW_RETENTION_DEAD_HOURS", "0"),
    ];
    let text = faults(&layers(&[("worker.shutdown_ms", "-1")], &environment, file), Need::Listener);
    assert!(!text.contains("hunter2") && !text.contains("short,"));
    insta::assert_snapshot!(text);
}

#[test]
fn what_settings_mean_together() {
    let open = layers(&[("http.listen", "0.0.0.0:80")], &[], "");
    insta::assert_snapshot!(faults(&open, Need::SharedListener));
    assert!(Config::read(&open, Need::Nothing).is_ok());
    let allowed = [("http.listen", "0.0.0.0:80"), ("http.allow_unauthenticated", "true")];
    let config = Config::read(&layers(&allowed, &[], ""), Need::Listener).unwrap();
    assert!(config.egress.allow.is_empty(), "loopback is closed where others can ask");
    let keyed = layers(&[("http.listen", "0.0.0.0:80")], &[("TASKFLOW_AUTH", "on")], "");
    assert!(Config::read(&keyed, Need::Listener).unwrap().auth.on);
    let keyed = Config::read(&layers(&[], &[("TASKFLOW_AUTH", "on")], ""), Need::Listener).unwrap();
    assert!(keyed.egress.allow.is_empty(), "loopback is closed where keys are needed");
}

#[test]
fn the_permission_to_be_open_stands_on_the_command_line_only() {
    let text = faults(&layers(&[], &[], "[http]\nallow_unauthenticated = true\n"), Need::Listener);
    assert!(text.contains("no setting `http.allow_unauthenticated`"), "{text}");
}

#[test]
fn a_named_file_must_exist() {
    let layers = Layers::from_parts(vec![], [], Some("nowhere.toml".into()));
    assert!(faults(&layers, Need::Nothing).contains("\n  nowhere.toml: the file cannot be read"));
}

#[test]
fn a_terminal_is_logged_to_in_text_unless_the_form_is_given() {
    let shown = |environment: &[(&str, &str)], terminal| {
        let layers = layers(&[], environment, "").logging_to(terminal);
        let shown: serde_json::Value = serde_json::from_str(&show(&layers, true)).unwrap();
        (shown["log.format"]["value"].clone(), Config::read(&layers, Need::Nothing).unwrap().logs.format)
    };
    let (json, text) = ((json!("json"), LogFormat::Json), (json!("text"), LogFormat::Text));
    assert_eq!(shown(&[], false), json);
    assert_eq!(shown(&[], true), text);
    assert_eq!(shown(&[("TASKFLOW_LOG_FORMAT", "json")], true), json);
    assert_eq!(shown(&[("TASKFLOW_LOG_FORMAT", "text")], false), text);
}

#[test]
fn passwords_are_hidden() {
    assert_eq!(without_password("postgres://u:p@h:1/d"), "postgres://u:***@h:1/d");
    assert_eq!(without_password("postgres://u:p@x/y@h/d"), "postgres://u:***@h/d");
    assert_eq!(without_password("postgres://h/d?user=u&password=p"), "postgres://h/d?user=u&password=***");
    assert_eq!(without_password("sqlite://taskflow.db"), "sqlite://taskflow.db");
    let key = [("TASKFLOW_OPERATOR_KEY", "a-key-of-some-length"), ("DATABASE_URL", "postgres://u:pw@h/d")];
    for as_json in [false, true] {
        let shown = show(&layers(&[], &key, ""), as_json);
        assert!(!shown.contains("a-key") && !shown.contains("pw"), "{shown}");
    }
}

//! What the process says about its configuration.

use anyhow::Result;
use taskflow_tests::process::Launch;

#[test]
fn every_fault_is_named_and_the_code_is_2() -> Result<()> {
    let directory = tempfile::tempdir()?;
    std::fs::write(directory.path().join("taskflow.toml"), "[worker]\nlease_ms = \"soon\"\n")?;
    let launch = Launch::new(["up", "--listen", "nowhere"])
        .directory(directory.path())
        .env("DATABASE_URL", "mysql://root:secret@h/d")
        .env("TASKFLOW_AUTH", "maybe")
        .env("TASKFLOW_SHUTDOWN_MS", "-5");
    let (status, _, errors) = launch.output()?;
    assert_eq!(status.code(), Some(2));
    for expected in [
        "5 faults",
        "http.listen (flag --listen)",
        "worker.lease_ms (taskflow.toml line 2)",
        "database.url (environment DATABASE_URL)",
        "auth.mode (environment TASKFLOW_AUTH)",
        "worker.shutdown_ms (environment TASKFLOW_SHUTDOWN_MS)",
    ] {
        assert!(errors.contains(expected), "{expected} is not in:\n{errors}");
    }
    assert!(!errors.contains("secret"));
    Ok(())
}

#[test]
fn being_open_to_others_needs_a_flag() -> Result<()> {
    let launch = |command| Launch::new([command]).env("DATABASE_URL", "postgres://h/d");
    let (status, _, errors) = launch("up").env("TASKFLOW_LISTEN", "0.0.0.0:0").output()?;
    assert_eq!(status.code(), Some(2));
    assert!(errors.contains("--allow-unauthenticated"), "{errors}");
    Ok(())
}

#[test]
fn what_is_in_force_is_shown_without_secrets() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let launch = || {
        Launch::new(["config", "--json", "--lease-ms", "5000"])
            .directory(directory.path())
            .env("DATABASE_URL", "postgres://u:hush@h/d")
            .env("TASKFLOW_OPERATOR_KEY", "hush-hush-hush-hush")
    };
    let (status, shown, errors) = launch().output()?;
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
    assert!(!shown.contains("hush"));
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    assert_eq!(shown["worker.lease_ms"]["value"], "5000");
    assert_eq!(shown["worker.lease_ms"]["from"], "flag --lease-ms");
    assert_eq!(shown["database.url"]["value"], "postgres://u:***@h/d");
    // Nobody sits before a pipe.
    assert_eq!(shown["log.format"]["value"], "json");
    Ok(())
}

//! The engine beside plain SQL on one server in one run: the only way in which a
//! rate says something about the engine and not about the machine.

pub mod apart;
pub mod capped;
pub mod claims;
pub mod history;
pub mod lite;
pub mod plain;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One run of `taskflow bench`.
#[derive(Clone, Debug)]
pub struct EngineRun<'a> {
    /// The database.
    pub url: &'a str,
    /// How many jobs.
    pub jobs: u32,
    /// Over how many tenants.
    pub tenants: u32,
    /// `single` or `batch`.
    pub enqueue: &'a str,
    /// How many callers submit at once.
    pub callers: u32,
    /// How many jobs one claim may hold.
    pub batch: u32,
}

/// Runs the real binary, which stands beside this one, and answers its figures.
pub async fn engine(run: &EngineRun<'_>) -> Result<Value> {
    let mut command = Command::new(binary()?);
    command.env("DATABASE_URL", run.url).arg("bench");
    for (flag, value) in [
        ("--jobs", run.jobs),
        ("--tenants", run.tenants),
        ("--callers", run.callers),
        ("--batch", run.batch),
        ("--slots", run.batch * 3),
        ("--payload-bytes", 16),
    ] {
        command.arg(flag).arg(value.to_string());
    }
    command.arg("--enqueue").arg(run.enqueue).stderr(Stdio::inherit());
    let output = tokio::task::spawn_blocking(move || command.output()).await?.context("taskflow bench")?;
    ensure!(output.status.success(), "taskflow bench failed");
    serde_json::from_slice(&output.stdout).context("taskflow bench printed no JSON")
}

fn binary() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("taskflow");
    ensure!(path.exists(), "{} is missing: build the whole workspace", path.display());
    Ok(path)
}

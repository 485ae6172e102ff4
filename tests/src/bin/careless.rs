//! A worker over REST whose handlers are careless: they panic, block for ever, end the
//! process, or take all the memory that it may have. `careless URL NAME` runs one job
//! after the other until it is killed, or kills itself. Its address space must be
//! limited (`ulimit -v`), or a hungry handler would take the machine's.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Client;
use serde_json::{Value, json};
use taskflow_tests::faults::careless::{KINDS, LEASE_MS};
use taskflow_tests::process;
use tokio::sync::oneshot;

/// A piece of what a hungry handler takes, in bytes.
const BITE: usize = 16 * 1024 * 1024;
/// What the stack grows by in each call of a handler that calls itself for ever.
const FRAME: usize = 4 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (url, name) = (arguments.next().context("a URL")?, arguments.next().context("a name")?);
    ensure!(is_limited()?, "the address space of this process is not limited: see `ulimit -v`");
    let worker = Worker { client: process::client()?, url, name };
    loop {
        if let Some(job) = worker.claim().await? {
            worker.run(&job).await?;
        }
    }
}

fn is_limited() -> Result<bool> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max address space")).context("a limit")?;
    Ok(!line.contains("unlimited"))
}

struct Worker {
    client: Client,
    url: String,
    name: String,
}

impl Worker {
    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        let url = format!("{}/v1/worker/{path}", self.url);
        let answer = self.client.post(url).json(&body).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    async fn claim(&self) -> Result<Option<Value>> {
        let wish = json!({"worker_id": self.name, "kinds": KINDS, "max": 1, "wait_ms": 10_000,
            "lease_ms": LEASE_MS});
        let claimed = self.post("claim", wish).await?;
        Ok(claimed["items"].get(0).cloned())
    }

    /// Runs a job and reports its end. A handler that does not heed that its lease is
    /// gone is left to itself.
    async fn run(&self, job: &Value) -> Result<()> {
        let lease = json!({"job_id": job["id"], "lease_token": job["lease_token"]});
        let kind = job["kind"].as_str().context("a kind")?.to_owned();
        let (sender, mut ended) = oneshot::channel();
        // Detached: the sender tells whether the handler came to its end or was unwound.
        std::thread::Builder::new().spawn(move || {
            handle(&kind);
            // Nobody waits any more where the lease is gone.
            let _ = sender.send(());
        })?;
        let third = Duration::from_millis(LEASE_MS / 3);
        let panicked = loop {
            if let Ok(end) = tokio::time::timeout(third, &mut ended).await {
                break end.is_err();
            }
            let told = self.post("heartbeat", json!({"items": [lease]})).await?;
            if told["items"][0]["code"] == "stale_lease" {
                return Ok(());
            }
        };
        let mut item = lease;
        if panicked {
            item["error"] = json!({"type": "panic", "message": "the handler panicked"});
        }
        let told = self.post(if panicked { "fail" } else { "complete" }, json!({"items": [item]})).await?;
        ensure!(told["items"][0]["ok"] == true, "{told}");
        Ok(())
    }
}

fn handle(kind: &str) {
    match kind {
        "panic" => panic!("as it was told to"),
        "block" => loop {
            std::thread::park();
        },
        "abort" => std::process::abort(),
        "overflow" => {
            black_box(deeper(black_box(u64::MAX)));
        }
        "hungry" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(black_box(vec![1_u8; BITE]));
            }
        }
        _ => {}
    }
}

fn deeper(left: u64) -> u64 {
    let frame = black_box([left; FRAME / 8]);
    if left == 0 { frame[0] } else { deeper(left - 1) + frame[1] }
}

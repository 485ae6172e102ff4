//! Workers with careless handlers, each a process of its own with a limited memory,
//! started again as often as it dies.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio_util::task::AbortOnDropHandle;

use super::pause;

/// What the workers run; the last is the one that does as it should.
pub const KINDS: [&str; 6] = ["abort", "overflow", "hungry", "panic", "block", "good"];
/// How long their leases last, in milliseconds.
pub const LEASE_MS: u64 = 2_000;
/// How much memory each may ask for, in KiB.
const MEMORY_KIB: u32 = 512 * 1024;
/// How often somebody looks whether one has died.
const LOOK: Duration = Duration::from_millis(20);

/// Workers that are started again as often as they die. They end when this is dropped.
#[derive(Debug)]
pub struct Careless {
    deaths: Arc<AtomicUsize>,
    _tended: Vec<AbortOnDropHandle<()>>,
}

/// A process that does not outlive this.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // It may have died by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Careless {
    /// Starts so many workers of the program at `program` on the engine at `url`.
    pub fn start(count: usize, program: &Path, url: &str) -> Result<Self> {
        let deaths = Arc::new(AtomicUsize::new(0));
        let tended = (0..count).map(|number| {
            let mut kept = Kept(spawn(program, url, number)?);
            let (deaths, program, url) = (Arc::clone(&deaths), PathBuf::from(program), url.to_owned());
            anyhow::Ok(AbortOnDropHandle::new(tokio::spawn(async move {
                loop {
                    pause(LOOK).await;
                    if kept.0.try_wait().ok().flatten().is_some() {
                        deaths.fetch_add(1, Ordering::Relaxed);
                        // A machine without room for a process has it a moment later.
                        let Ok(next) = spawn(&program, &url, number) else { continue };
                        kept = Kept(next);
                    }
                }
            })))
        });
        Ok(Self { _tended: tended.collect::<Result<_>>()?, deaths })
    }

    /// How often one of them died.
    pub fn deaths(&self) -> usize {
        self.deaths.load(Ordering::Relaxed)
    }
}

fn spawn(program: &Path, url: &str, number: usize) -> Result<Child> {
    let limited = format!("ulimit -c 0 && ulimit -v {MEMORY_KIB} && exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &limited])
        .arg(program)
        .args([url, &format!("careless-{number}")])
        // Telling where a handler broke takes more memory than there is.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start a worker")
}

//! The real binary as a child process: started, watched, signalled, killed.
//!
//! [`Launch`] collects arguments and environment; [`Launch::start`] returns when
//! the process says on `/health/ready` that it is ready, or has ended. The
//! environment of the test itself is not passed on, so that a developer's
//! settings change nothing. A process that is dropped is killed.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::Instant;

/// How long a process may take to become ready or to end.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often something is asked that cannot tell by itself.
const POLL: Duration = Duration::from_millis(20);

/// A signal by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end in good order.
    Term,
    /// Ends it at once.
    Kill,
    /// Freezes it.
    Stop,
    /// Lets it go on.
    Cont,
}

/// A process to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    directory: Option<PathBuf>,
    listens: bool,
}

impl Launch {
    /// `taskflow` with these arguments, with an HTTP listener on a free port if
    /// the command has one.
    pub fn new<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let arguments = arguments.into_iter().map(str::to_owned).collect();
        let environment = vec![("RUST_LOG".to_owned(), "info,taskflow=debug".to_owned())];
        Self { arguments, environment, directory: None, listens: true }
    }

    /// Adds a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Runs in this directory, where `taskflow.toml` and `taskflow.db` are looked for.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Result<Process> {
        let mut process = self.spawn()?;
        process.ready().await?;
        Ok(process)
    }

    /// Starts it and does not wait.
    pub fn spawn(mut self) -> Result<Process> {
        let port = free_port()?;
        if self.listens {
            // The worker has a listener of its own, for its health.
            for name in ["TASKFLOW_LISTEN", "TASKFLOW_WORKER_LISTEN"] {
                self.environment.push((name.to_owned(), format!("127.0.0.1:{port}")));
            }
        }
        let mut command = self.command()?;
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let log = Log::default();
        if let Some(output) = child.stdout.take() {
            log.follow(output);
        }
        if let Some(output) = child.stderr.take() {
            log.follow(output);
        }
        Ok(Process { child, log, url: format!("http://127.0.0.1:{port}") })
    }

    /// Runs it to its end: how it ended, its standard output and its standard error.
    pub fn output(mut self) -> Result<(ExitStatus, String, String)> {
        self.listens = false;
        let output = self.command()?.output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status, text(&output.stdout), text(&output.stderr)))
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.args(&self.arguments).env_clear().envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        Ok(command)
    }
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Log,
    /// Where its HTTP listener is, without a slash at the end.
    pub url: String,
}

impl Process {
    /// Waits until it is ready. An error tells its log.
    pub async fn ready(&mut self) -> Result<()> {
        let client = client()?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the process ended ({status}) instead of becoming ready:\n{}", self.log());
            }
            let answer = client.get(format!("{}/health/ready", self.url)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "the process did not become ready:\n{}", self.log());
            pause().await;
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let name = match signal {
            Signal::Term => "TERM",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Cont => "CONT",
        };
        let order = format!("kill -s {name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &order]).status()?;
        ensure!(status.success(), "{order} failed");
        Ok(())
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "the process did not end:\n{}", self.log());
            pause().await;
        }
    }

    /// All that it has written so far.
    pub fn log(&self) -> String {
        self.log.text()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The test runner shows this only for a test that failed.
        if std::thread::panicking() {
            eprintln!("--- log of process {}\n{}", self.child.id(), self.log());
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn follow(&self, output: impl Read + Send + 'static) {
        let text = Arc::clone(&self.0);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
            }
        });
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A client that asks loopback only, without the machine's proxy settings.
pub fn client() -> Result<reqwest::Client> {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // Another test of this process may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Ok(reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?)
}

/// A port that nobody listens on. It is none of those that the system gives to outgoing
/// connections, or one of them could take it before the process that it is meant for.
pub fn free_port() -> Result<u16> {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Tests that run at the same time begin at places of their own.
    let place = std::process::id().wrapping_mul(97).wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
    let ports = (0..COUNT).map(|n| FIRST + place.wrapping_add(n) % COUNT);
    let mut ports = ports.filter_map(|port| u16::try_from(port).ok());
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).context("no port is free")
}

/// Waits until `found` answers something, asking again and again.
pub async fn eventually<T>(what: &str, mut found: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found().await? {
            return Ok(value);
        }
        ensure!(Instant::now() < until, "it did not come about that {what}");
        pause().await;
    }
}

/// The bounded wait between two questions to another process, which has no
/// signal to give.
async fn pause() {
    let mut timer = tokio::time::interval(POLL);
    timer.tick().await;
    timer.tick().await;
}

/// The binary under test: `TASKFLOW_TEST_BINARY`, else built now beside the tests.
pub fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BINARY.get_or_init(|| locate().map_err(|error| format!("{error:#}")));
    found.clone().map_err(anyhow::Error::msg)
}

fn locate() -> Result<PathBuf> {
    if let Some(told) = variable("TASKFLOW_TEST_BINARY") {
        return Ok(told.into());
    }
    let directory = build_directory()?;
    let cargo = variable("CARGO").unwrap_or_else(|| "cargo".to_owned());
    let mut build = Command::new(cargo);
    // Built together with the tests' own package, its libraries get the same
    // features as the tests' and are not built twice.
    build.args([
        "build",
        "--quiet",
        "--package",
        "taskflow",
        "--package",
        "taskflow-tests",
        "--bin",
        "taskflow",
    ]);
    if directory.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let status = build.status().context("cannot run cargo")?;
    ensure!(status.success(), "the binary could not be built");
    let binary = directory.join("taskflow");
    ensure!(binary.exists(), "cargo built the binary, but not at {}", binary.display());
    Ok(binary)
}

/// Where this build's binaries are: `target/debug`, or as it is set.
pub(crate) fn build_directory() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.parent().context("a program is in a directory")?;
    // Test programs are one level deeper, in `deps`.
    let deeper = beside.file_name().is_some_and(|name| name == "deps");
    let directory = if deeper { beside.parent().context("deps is in a directory")? } else { beside };
    Ok(directory.to_owned())
}

/// A variable of the environment that is set and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests' own few settings; the engine's are read by the binary"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

//! One private PostgreSQL server: made, started, stopped, crashed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{free_port, variable};

/// How a server is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Ends sessions and writes everything back.
    Fast,
    /// As if the power failed for the server's processes; recovers at the next start.
    Immediate,
}

/// Whether a server cares for what a crash of the machine would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// As in production.
    Durable,
    /// As in production, on a machine for which these settings are right.
    Tuned(&'static str),
    /// Never waits for the disk.
    Careless,
}

/// A private server. It stops, and its files go, when this is dropped or the process ends.
#[derive(Debug)]
pub struct Cluster {
    files: Files,
    port: u16,
    /// Held as long as somebody may use the server; the watchdog waits for it.
    _in_use: File,
}

impl Cluster {
    /// A server of its own that keeps its promises over crashes.
    pub fn durable() -> Result<Self> {
        Self::make(Care::Durable)
    }

    /// The same, with further lines for its configuration.
    pub fn durable_with(settings: &'static str) -> Result<Self> {
        Self::make(Care::Tuned(settings))
    }

    /// The same, with its files below this directory, which may be a disk of its own.
    pub fn durable_in(directory: &Path, settings: &'static str) -> Result<Self> {
        Self::make_at(Files::create_in(directory)?, Care::Tuned(settings))
    }

    /// A server over the files that another one, by whatever means, left below
    /// this directory. It recovers what is there.
    pub fn recovered_from(directory: &Path) -> Result<Self> {
        let mut found = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
        let root = found.find(|path| path.join("server").exists()).context("no server was here")?;
        let files = Files { root };
        let in_use = File::create(files.lock())?;
        in_use.lock_shared()?;
        // What the server notes of its process is of no process any more.
        let _ = fs::remove_file(files.data().join("postmaster.pid"));
        let port = start_anywhere(&files, Care::Durable)?;
        watch(&files, 2)?;
        Ok(Self { files, port, _in_use: in_use })
    }

    fn make(care: Care) -> Result<Self> {
        Self::make_at(Files::create()?, care)
    }

    fn make_at(files: Files, care: Care) -> Result<Self> {
        let in_use = File::create(files.lock())?;
        in_use.lock_shared()?;
        let port = start_new(&files, care)?;
        watch(&files, 2)?;
        Ok(Self { files, port, _in_use: in_use })
    }

    /// The URL of its maintenance database.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// The port that it listens on.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The process that the server's others come from.
    pub fn process(&self) -> Result<u32> {
        let text = fs::read_to_string(self.files.data().join("postmaster.pid"))?;
        Ok(text.lines().next().unwrap_or_default().trim().parse()?)
    }

    /// Starts it if it ended by itself, as it does without room for its log.
    pub fn revive(&self) -> Result<bool> {
        let mut status = program("pg_ctl")?;
        status.arg("status").arg("-s").arg("-D").arg(self.files.data());
        if run(&mut status).is_ok() {
            return Ok(false);
        }
        self.start().map(|()| true)
    }

    /// Stops it. Afterwards the port answers nobody.
    pub fn stop(&self, mode: StopMode) -> Result<()> {
        stop(&self.files, mode)
    }

    /// Starts it again, on the same port.
    pub fn start(&self) -> Result<()> {
        start(&self.files, self.port)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = stop(&self.files, StopMode::Immediate);
        let _ = fs::remove_dir_all(&self.files.root);
    }
}

/// Where a server's files are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) root: PathBuf,
}

impl Files {
    /// A new directory that only this user and the server's user can enter.
    /// It is a short path, since the socket's name has little room.
    pub(super) fn create() -> Result<Self> {
        Self::create_in(&std::env::temp_dir())
    }

    fn create_in(directory: &Path) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("taskflow-pg-").tempdir_in(directory)?.keep();
        let made = Self { root };
        if is_root() {
            run(Command::new("chmod").arg("755").arg(&made.root))?;
            run(Command::new("install").args(["-d", "-o", SERVER_USER, "-m", "700"]).arg(made.server()))?;
        } else {
            fs::create_dir(made.server())?;
        }
        Ok(made)
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("in-use")
    }

    fn server(&self) -> PathBuf {
        self.root.join("server")
    }

    fn data(&self) -> PathBuf {
        self.server().join("data")
    }

    fn log(&self) -> PathBuf {
        self.server().join("log")
    }
}

/// PostgreSQL refuses to run as root; the package brings this user.
const SERVER_USER: &str = "postgres";

/// The URL of the maintenance database of the server on `port`.
pub(super) fn url(port: u16) -> String {
    format!("postgres://{SERVER_USER}@127.0.0.1:{port}/postgres")
}

/// Makes a server's files and starts it on a free port.
pub(super) fn start_new(files: &Files, care: Care) -> Result<u16> {
    let mut initdb = program("initdb")?;
    initdb.args(["--auth=trust", "--username", SERVER_USER, "--encoding=UTF8", "--locale=C", "--no-sync"]);
    run(initdb.arg("-D").arg(files.data()))?;
    start_anywhere(files, care)
}

/// Starts a server whose files exist on a free port.
fn start_anywhere(files: &Files, care: Care) -> Result<u16> {
    // Another process may take the port between finding it free and using it.
    let mut failure = None;
    for _ in 0..5 {
        let port = free_port()?;
        configure(files, care, port)?;
        match start(files, port) {
            Ok(()) => return Ok(port),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| anyhow::anyhow!("no port was free")))
}

fn configure(files: &Files, care: Care, port: u16) -> Result<()> {
    let speed = match care {
        Care::Durable => "",
        Care::Tuned(settings) => settings,
        Care::Careless => "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n",
    };
    let text = format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n\
         max_connections = 400\nshared_buffers = 64MB\nlog_min_messages = warning\n{speed}",
        files.server().display()
    );
    let own = files.root.join("settings");
    fs::write(&own, text)?;
    let mut copy = as_server_user("cp");
    run(copy.arg(&own).arg(files.data().join("taskflow.conf")))?;
    let mut include = as_server_user("sh");
    let conf = files.data().join("postgresql.conf");
    run(include
        .args(["-c", "grep -q taskflow.conf \"$1\" || echo \"include 'taskflow.conf'\" >>\"$1\"", "sh"])
        .arg(conf))
}

/// Starts a server whose files exist; returns when it accepts connections.
pub(super) fn start(files: &Files, port: u16) -> Result<()> {
    let mut command = program("pg_ctl")?;
    command
        .arg("start")
        .arg("-D")
        .arg(files.data())
        .arg("-l")
        .arg(files.log())
        .args(["-w", "-t", "60", "-s"]);
    run(&mut command).with_context(|| {
        let log = fs::read_to_string(files.log()).unwrap_or_default();
        format!("PostgreSQL did not start on port {port}; its log:\n{log}")
    })
}

fn stop(files: &Files, mode: StopMode) -> Result<()> {
    let mode = match mode {
        StopMode::Fast => "fast",
        StopMode::Immediate => "immediate",
    };
    let mut command = program("pg_ctl")?;
    run(command.arg("stop").arg("-D").arg(files.data()).args(["-w", "-s", "-m", mode]))
}

/// Leaves a process behind that stops the server and removes its files, once
/// nobody has held the lock for about `idle_seconds`.
pub(super) fn watch(files: &Files, idle_seconds: u32) -> Result<()> {
    const SCRIPT: &str = r#"
        root=$1; limit=$2; shift 2; idle=0
        while [ -e "$root/in-use" ]; do
            if flock -n -x "$root/in-use" true; then idle=$((idle + 1)); else idle=0; fi
            if [ "$idle" -gt "$limit" ]; then
                exec 9<"$root/in-use"
                if flock -n -x 9; then "$@"; rm -rf "$root"; exit 0; fi
                exec 9<&-
            fi
            sleep 1
        done"#;
    let mut stopper = program("pg_ctl")?;
    stopper.arg("stop").arg("-D").arg(files.data()).args(["-w", "-s", "-m", "immediate"]);
    let mut watchdog = Command::new("setsid");
    watchdog.args(["sh", "-c", SCRIPT, "taskflow-test-postgres-watchdog"]);
    watchdog
        .arg(&files.root)
        .arg(idle_seconds.to_string())
        .arg(stopper.get_program())
        .args(stopper.get_args());
    watchdog.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    watchdog.spawn().context("cannot start the watchdog (setsid and flock of util-linux are needed)")?;
    Ok(())
}

/// One of the server's programs, to be run by a user that may run it.
pub(super) fn program(name: &str) -> Result<Command> {
    Ok(as_server_user(directory()?.join(name)))
}

fn as_server_user(program: impl AsRef<Path>) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", SERVER_USER, "--"]).arg(program.as_ref());
        command
    } else {
        Command::new(program.as_ref())
    };
    command.current_dir("/");
    command
}

/// Where the programs are: as told, else the newest of Debian's places, else on the path.
fn directory() -> Result<PathBuf> {
    if let Some(told) = variable("TASKFLOW_TEST_PG_BIN") {
        let told = PathBuf::from(told);
        ensure!(told.join("initdb").exists(), "TASKFLOW_TEST_PG_BIN is {}, without initdb", told.display());
        return Ok(told);
    }
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = debian
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").exists() && bin.join("pg_ctl").exists())
        .max();
    if let Some((_, bin)) = newest {
        return Ok(bin);
    }
    let path = variable("PATH").unwrap_or_default();
    match std::env::split_paths(&path).find(|bin| bin.join("initdb").exists() && bin.join("pg_ctl").exists())
    {
        Some(bin) => Ok(bin),
        None => {
            bail!("PostgreSQL is not installed; run scripts/ensure-postgres.sh, or set TASKFLOW_TEST_PG_BIN")
        }
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Runs a command to its end. Its output goes to a file, as a server that it
/// starts would keep a pipe open for ever.
fn run(command: &mut Command) -> Result<()> {
    let output = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(output.reopen()?).stderr(output.reopen()?);
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed ({status}): {}", fs::read_to_string(output.path()).unwrap_or_default());
    }
    Ok(())
}

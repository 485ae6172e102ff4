//! The server that all test processes of one build directory share.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::sync::OnceCell;

use super::cluster::{self, Care, Files};
use crate::process::variable;

/// How long an unused server stays, for the next test or the next run.
const IDLE_SECONDS: u32 = 60;

/// The maintenance database of the shared server, which is started if need be.
pub(super) async fn server_url() -> Result<String> {
    static SERVER: OnceCell<(String, Option<File>)> = OnceCell::const_new();
    if let Some(url) = variable("TASKFLOW_TEST_PG_URL") {
        return Ok(url);
    }
    let found =
        SERVER.get_or_try_init(|| async { tokio::task::spawn_blocking(join_or_start).await? }).await?;
    Ok(found.0.clone())
}

fn join_or_start() -> Result<(String, Option<File>)> {
    let place = place()?;
    fs::create_dir_all(&place)?;
    // Only one process looks and starts at a time.
    let turn = open(&place.join("turn"))?;
    turn.lock()?;
    let record = place.join("server");
    if let Some(joined) = join(&record) {
        return Ok(joined);
    }
    let files = Files::create()?;
    let in_use = open(&files.lock())?;
    in_use.lock_shared()?;
    let port =
        cluster::start_new(&files, Care::Careless).context("cannot start a PostgreSQL for the tests")?;
    cluster::watch(&files, IDLE_SECONDS)?;
    fs::write(&record, format!("{port}\n{}\n", files.root.display()))?;
    Ok((cluster::url(port), Some(in_use)))
}

/// Joins the recorded server if it still runs. The lock comes first: under it,
/// the watchdog does not stop the server.
fn join(record: &Path) -> Option<(String, Option<File>)> {
    let text = fs::read_to_string(record).ok()?;
    let (port, root) = text.trim_end().split_once('\n')?;
    let port: u16 = port.parse().ok()?;
    let files = Files { root: PathBuf::from(root) };
    let in_use = File::open(files.lock()).ok()?;
    in_use.lock_shared().ok()?;
    // The watchdog may have removed the file between opening and locking it.
    fs::metadata(files.lock()).ok()?;
    std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    Some((cluster::url(port), Some(in_use)))
}

fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).read(true).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

/// A directory that all test binaries of one build share.
fn place() -> Result<PathBuf> {
    Ok(crate::process::build_directory()?.join("test-postgres"))
}

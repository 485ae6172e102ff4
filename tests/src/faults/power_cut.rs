//! The power fails, again and again, at times that nobody chose.
//!
//! The database lies in an ext4 image, and that in a btrfs file system. A copy of
//! the image by `cp --reflink=always` is one atomic moment of the disk: what had
//! been forced to it is in the copy, what was only in memory is not. Each copy is
//! mounted and recovered, and must hold every job that had been acknowledged
//! before the moment of the copy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sqlx::{Connection as _, Row as _};
use taskflow_checker::history::{Call, Known, Op};

use super::load::{Load, Plan};
use super::machine::{Mount, run, shell, text};
use super::site::Site;
use super::{now_us, pause, random};
use crate::postgres::{Cluster, create_database};

const LEASE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_mins(1);

/// A disk whose power can be cut. The order of the fields is that of the end.
struct Disk {
    inner: Mount,
    outer: Mount,
    _files: tempfile::TempDir,
}

impl Disk {
    fn new(megabytes: u32) -> Result<Self> {
        let files = tempfile::Builder::new().prefix("taskflow-image-").tempdir()?;
        let outer_image = files.path().join("outer.img");
        let size = format!("{}M", megabytes * 8);
        shell(
            "truncate -s $2 \"$1\"; mkfs.btrfs --quiet --metadata single \"$1\"",
            &[text(&outer_image)?, &size],
        )?;
        let outer = Mount::image(&outer_image)?;
        let image = outer.path().join("inner.img");
        let size = format!("{megabytes}M");
        shell("truncate -s $2 \"$1\"; mkfs.ext4 -q \"$1\"", &[text(&image)?, &size])?;
        let inner = Mount::image(&image)?;
        run("chmod", &["755", text(inner.path())?])?;
        Ok(Self { inner, outer, _files: files })
    }

    /// The disk as it is at this moment.
    fn cut(&self) -> Result<PathBuf> {
        let copy = self.outer.path().join("cut.img");
        let image = self.outer.path().join("inner.img");
        run("cp", &["--reflink=always", text(&image)?, text(&copy)?])?;
        Ok(copy)
    }
}

/// `cuts` cuts under a SQLite file.
pub async fn sqlite(cuts: u32) -> Result<()> {
    let disk = Disk::new(512)?;
    let file = disk.inner.path().join("taskflow.db");
    let site = Site::up(&format!("sqlite://{}", file.display()), LEASE).await?;
    cut_and_look(&disk, site, cuts, "power cut, SQLite").await
}

/// `cuts` cuts under PostgreSQL's data.
pub async fn postgres(cuts: u32) -> Result<()> {
    let disk = Disk::new(1_024)?;
    let server = Cluster::durable_in(disk.inner.path(), "max_wal_size = 96MB\n")?;
    let database = create_database(&server.url()).await?;
    let site = Site::up(&database.url, LEASE).await?;
    // The server's own files were made in a hurry; from now on it is on its own.
    run("sync", &["--file-system", text(disk.inner.path())?])?;
    cut_and_look(&disk, site, cuts, "power cut, PostgreSQL").await
}

async fn cut_and_look(disk: &Disk, mut site: Site, cuts: u32, name: &str) -> Result<()> {
    let seed = now_us() as u64;
    let mut state = seed;
    println!("{name}: seed {seed}");
    let load = Load::start(&site.client, Plan { callers: 8, ..Plan::default() });
    load.accepts(20, PATIENCE).await?;
    let mut held = 0;
    for number in 1..=cuts {
        pause(Duration::from_millis(20 + random(&mut state, 700))).await;
        let before = now_us();
        let copy = disk.cut()?;
        let acknowledged = acknowledged_by(&load.calls(), before);
        let found = recovered(&site.database, &copy).await.with_context(|| format!("cut {number}"))?;
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        ensure!(lost.is_empty(), "cut {number}: {} acknowledged, lost {lost:?}", acknowledged.len());
        std::fs::remove_file(&copy)?;
        held = acknowledged.len();
    }
    println!("{name}: {cuts} cuts, up to {held} acknowledged jobs at a cut, 0 lost");
    // The last cut is the end of this engine, and another one goes on from there.
    let copy = disk.cut()?;
    site.process.kill()?;
    site.finish(load).await?;
    go_on(site, &copy, name).await
}

/// The jobs that were acknowledged before a moment.
fn acknowledged_by(calls: &[Call], moment: i64) -> BTreeSet<String> {
    let known = calls.iter().filter(|call| call.known == Known::Ok && call.returned_at < moment);
    known
        .filter_map(|call| match &call.op {
            Op::Submit { job, .. } => job.clone(),
            _ => None,
        })
        .collect()
}

/// The jobs that are in a database after recovery.
async fn recovered(database: &str, copy: &Path) -> Result<BTreeSet<String>> {
    let disk = Mount::image(copy)?;
    if database.starts_with("sqlite") {
        let url = format!("sqlite://{}/taskflow.db", disk.path().display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await?;
        let sound: String = sqlx::query_scalar("pragma integrity_check").fetch_one(&mut connection).await?;
        ensure!(sound == "ok", "the file is damaged: {sound}");
        let rows = sqlx::query("select id from job").fetch_all(&mut connection).await?;
        connection.close().await?;
        rows.iter().map(|row| Ok(row.try_get::<uuid::Uuid, _>(0)?.to_string())).collect()
    } else {
        let server = Cluster::recovered_from(disk.path())?;
        let url = at_server(database, &server)?;
        let mut connection = sqlx::PgConnection::connect(&url).await?;
        let rows = sqlx::query("select id from job").fetch_all(&mut connection).await?;
        connection.close().await?;
        rows.iter().map(|row| Ok(row.try_get::<uuid::Uuid, _>(0)?.to_string())).collect()
    }
}

/// The same database on another server.
fn at_server(database: &str, server: &Cluster) -> Result<String> {
    let (_, name) = database.rsplit_once('/').context("a URL names a database")?;
    let url = server.url();
    let (base, _) = url.rsplit_once('/').context("a URL names a database")?;
    Ok(format!("{base}/{name}"))
}

/// An engine on the disk of the last cut: what was acknowledged runs to its end.
async fn go_on(site: Site, copy: &Path, name: &str) -> Result<()> {
    let disk = Mount::image(copy)?;
    let mut history = site.history.clone();
    let cut = now_us();
    drop_later_answers(&mut history.calls, copy)?;
    let (url, _server) = if site.database.starts_with("sqlite") {
        (format!("sqlite://{}/taskflow.db", disk.path().display()), None)
    } else {
        let server = Cluster::recovered_from(disk.path())?;
        (at_server(&site.database, &server)?, Some(server))
    };
    let mut again = Site::up(&url, LEASE).await?;
    again.history = history;
    again.outage(cut, now_us());
    again.settle(PATIENCE).await?;
    again.judge(name).await?;
    Ok(())
}

/// What was answered after the cut was answered by a machine that no longer is:
/// of those calls nobody knows the outcome.
fn drop_later_answers(calls: &mut [Call], copy: &Path) -> Result<()> {
    let made = std::fs::metadata(copy)?.created()?.duration_since(std::time::UNIX_EPOCH)?;
    let made = i64::try_from(made.as_micros())?;
    for call in calls.iter_mut().filter(|call| call.returned_at >= made - 1_000) {
        call.known = Known::Unknown;
        if let Op::Submit { job, .. } = &mut call.op {
            *job = None;
        }
    }
    Ok(())
}

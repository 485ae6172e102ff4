//! What of the machine a fault needs: small disks, images of disks, commands.
//!
//! `scripts/faults` gives each scenario a namespace of mounts and processes of
//! its own, so that nothing is left when one is killed half-way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// Runs a program to its end; what it wrote.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs lines of a shell, in which `$1` and so on are these arguments.
pub fn shell(script: &str, arguments: &[&str]) -> Result<String> {
    let mut all = vec!["-euc", script, "sh"];
    all.extend(arguments);
    run("sh", &all)
}

/// A path as an argument.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path is text")
}

/// A file system that is mounted until this is dropped.
#[derive(Debug)]
pub struct Mount {
    place: TempDir,
}

impl Mount {
    /// A disk in memory, of so many megabytes.
    pub fn memory(megabytes: u32) -> Result<Self> {
        Self::with(&["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=755"), "tmpfs"])
    }

    /// The file system in an image.
    pub fn image(image: &Path) -> Result<Self> {
        Self::with(&["-o", "loop", text(image)?])
    }

    fn with(arguments: &[&str]) -> Result<Self> {
        let place = tempfile::Builder::new().prefix("taskflow-disk-").tempdir()?;
        let mut all = arguments.to_vec();
        all.push(text(place.path())?);
        run("mount", &all).context("file systems are mounted by root; run it through scripts/faults")?;
        Ok(Self { place })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.place.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // What still uses it keeps it alive until it ends.
        let _ = Command::new("umount").arg("--lazy").arg(self.place.path()).status();
    }
}

/// A file that fills a disk to the last block.
#[derive(Debug)]
pub struct Ballast {
    file: PathBuf,
}

impl Ballast {
    /// Fills the disk on which `directory` is.
    pub fn fill(directory: &Path) -> Result<Self> {
        let file = directory.join("ballast");
        // It ends by failing, when nothing fits any more.
        let place = format!("of={}", text(&file)?);
        let filled =
            Command::new("dd").args(["if=/dev/zero", &place, "bs=64k"]).stderr(Stdio::null()).status()?;
        ensure!(!filled.success(), "the disk was not full");
        let rest = Command::new("dd")
            .args(["if=/dev/zero", &place, "bs=512", "oflag=append", "conv=notrunc"])
            .stderr(Stdio::null())
            .status()?;
        ensure!(!rest.success(), "the disk was not full");
        Ok(Self { file })
    }

    /// Makes room again.
    pub fn free(self) -> Result<()> {
        fs::remove_file(&self.file).context("the ballast cannot be removed")
    }
}

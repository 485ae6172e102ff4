//! Reads a history from a directory of JSON lines, and writes one.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::history::{History, Run};

/// Why a history could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not such a record.
    #[error("{}, line {line}: {source}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// Reads a history. A file that is absent holds nothing.
pub fn read(directory: &Path) -> Result<History, ReadError> {
    let run: Vec<Run> = lines(directory, "run")?;
    Ok(History {
        run: run.into_iter().next().unwrap_or_default(),
        calls: lines(directory, "calls")?,
        jobs: lines(directory, "jobs")?,
        attempts: lines(directory, "attempts")?,
        events: lines(directory, "events")?,
        leases: lines(directory, "leases")?,
        effects: lines(directory, "effects")?,
        faults: lines(directory, "faults")?,
        depths: lines(directory, "depths")?,
        rules: lines(directory, "rules")?,
        firings: lines(directory, "firings")?,
        inbound: lines(directory, "inbound")?,
    })
}

/// Writes a history.
pub fn write(directory: &Path, history: &History) -> Result<(), ReadError> {
    fs::create_dir_all(directory).map_err(|source| file_error(directory, source))?;
    put(directory, "run", std::slice::from_ref(&history.run))?;
    put(directory, "calls", &history.calls)?;
    put(directory, "jobs", &history.jobs)?;
    put(directory, "attempts", &history.attempts)?;
    put(directory, "events", &history.events)?;
    put(directory, "leases", &history.leases)?;
    put(directory, "effects", &history.effects)?;
    put(directory, "faults", &history.faults)?;
    put(directory, "depths", &history.depths)?;
    put(directory, "rules", &history.rules)?;
    put(directory, "firings", &history.firings)?;
    put(directory, "inbound", &history.inbound)
}

fn file_error(path: &Path, source: io::Error) -> ReadError {
    ReadError::File { path: path.to_owned(), source }
}

fn lines<T: DeserializeOwned>(directory: &Path, name: &str) -> Result<Vec<T>, ReadError> {
    let path = directory.join(format!("{name}.jsonl"));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(file_error(&path, source)),
    };
    let records = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed = records.map(|(index, line)| {
        serde_json::from_str(line).map_err(|source| ReadError::Line {
            path: path.clone(),
            line: index + 1,
            source,
        })
    });
    parsed.collect()
}

fn put<T: Serialize>(directory: &Path, name: &str, records: &[T]) -> Result<(), ReadError> {
    let path = directory.join(format!("{name}.jsonl"));
    let write = || -> io::Result<()> {
        let mut file = io::BufWriter::new(fs::File::create(&path)?);
        for record in records {
            serde_json::to_writer(&mut file, record)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    };
    write().map_err(|source| file_error(&path, source))
}

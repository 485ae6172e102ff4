//! The keys that seal secrets: where they come from, and in which order they count.
//!
//! The first seals, all of them open. What was given counts first; then a key that
//! lies beside an SQLite file, then one that the database holds. Where nothing was
//! given, a key of the last two kinds is made, so that no secret is ever kept in
//! clear, and one that was made before goes on opening what it sealed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use taskflow_adapters::webhook::{KEY_BYTES, SecretVault, key_of_file};
use taskflow_application::ports::{Ids, Vault};
use taskflow_domain::Timestamp;

use crate::config::{Config, DatabaseUrl};
use crate::database::Database;

/// Where the key lies that seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `TASKFLOW_SECRETS_KEY`.
    Setting,
    /// In a file beside the database's.
    File,
    /// In the database, with what it seals.
    Database,
}

impl Place {
    /// Where the key of this configuration lies, or will once it is made.
    pub(crate) fn of(config: &Config) -> Self {
        match &config.secrets.keys[..] {
            [] if file_of(config).is_some() => Self::File,
            [] => Self::Database,
            _ => Self::Setting,
        }
    }

    /// Its word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::File => "file",
            Self::Database => "database",
        }
    }
}

/// What seals the secrets of this process. The schema must be up to date.
pub(crate) async fn vault(config: &Config, database: &Database, ids: Arc<dyn Ids>) -> Result<Arc<dyn Vault>> {
    let keys = keys(config, database, ids.as_ref(), true).await?;
    Ok(Arc::new(SecretVault::new(&keys, ids).context("TASKFLOW_SECRETS_KEY")?))
}

/// All keys, the one that seals first. One that is not there yet is made if `make`.
async fn keys(
    config: &Config,
    database: &Database,
    ids: &dyn Ids,
    make: bool,
) -> Result<Vec<[u8; KEY_BYTES]>> {
    let place = Place::of(config);
    let mut keys: Vec<_> = config.secrets.keys.iter().map(|key| key.0).collect();
    if let Some(path) = file_of(config)
        && (path.exists() || (make && place == Place::File))
    {
        keys.push(of_file(&path, ids)?);
    }
    let kept = match place {
        Place::Database if make => Some(of_database(database).await?),
        Place::Setting | Place::File | Place::Database => database.sealing_key().await?,
    };
    if let Some(kept) = kept {
        keys.push(<[u8; KEY_BYTES]>::try_from(kept).map_err(|_| anyhow!("the key in the database is none"))?);
    }
    Ok(keys)
}

/// Whether another key than the one that seals, which only opens any more, still
/// lies beside the database or in it.
pub(crate) async fn old_key_stays(config: &Config, database: &Database) -> Result<bool> {
    let place = Place::of(config);
    let file = place == Place::Setting && file_of(config).is_some_and(|path| path.exists());
    Ok(file || (place != Place::Database && database.sealing_key().await?.is_some()))
}

/// How the secrets that are kept stand to the keys that there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// How many were looked at: those of rules, and those of targets' headers in rules
    /// and in jobs that have not ended.
    pub(crate) looked_at: usize,
    /// Those that no key opens.
    pub(crate) lost: usize,
    /// Those that another key opens than the one that seals.
    pub(crate) old: usize,
    /// Whether that was all of them.
    pub(crate) all: bool,
}

/// Tries the keys on what is kept. No key is made for it.
pub(crate) async fn kept(
    config: &Config,
    database: &Database,
    ids: Arc<dyn Ids>,
    now: Timestamp,
) -> Result<Kept> {
    let sealed = database.sealed(now).await?;
    let keys = keys(config, database, ids.as_ref(), false).await?;
    let vault = if keys.is_empty() { None } else { Some(SecretVault::new(&keys, ids)?) };
    let mut kept = Kept { looked_at: sealed.list.len(), lost: 0, old: 0, all: sealed.all };
    for (of, envelope) in &sealed.list {
        match &vault {
            Some(vault) if vault.open(*of, envelope).is_ok() => {
                kept.old += usize::from(vault.is_stale(envelope));
            }
            _ => kept.lost += 1,
        }
    }
    Ok(kept)
}

async fn of_database(database: &Database) -> Result<Vec<u8>> {
    let (key, made) = database.make_sealing_key().await.context("the key of secrets cannot be made")?;
    if made {
        tracing::info!("made a key that seals secrets; the database holds it");
    }
    tracing::warn!(
        "secrets are sealed with a key that lies in the database itself: a dump of all of it opens them. \
         TASKFLOW_SECRETS_KEY keeps the key elsewhere"
    );
    Ok(key)
}

fn of_file(path: &Path, ids: &dyn Ids) -> Result<[u8; KEY_BYTES]> {
    let (key, made) = key_of_file(path, ids).with_context(|| format!("the key in {}", path.display()))?;
    if made {
        let path = path.display().to_string();
        tracing::info!(key.file = path, "made a key that seals secrets; keep it with the database");
    }
    Ok(key)
}

/// Where a key lies, or would, beside the database.
fn file_of(config: &Config) -> Option<PathBuf> {
    match &config.database.url {
        DatabaseUrl::Sqlite(url) => key_file(url),
        DatabaseUrl::Postgres(_) => None,
    }
}

/// Beside the database's file; a database in memory has none.
fn key_file(url: &str) -> Option<PathBuf> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return None;
    }
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url);
    let path = path.split('?').next().unwrap_or(path);
    Some(PathBuf::from(format!("{path}.key")))
}

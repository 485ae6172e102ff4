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
        match (&config.secrets.keys[..], &config.database.url) {
            ([], DatabaseUrl::Sqlite(url)) if key_file(url).is_some() => Self::File,
            ([], _) => Self::Database,
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
    let place = Place::of(config);
    let mut keys: Vec<_> = config.secrets.keys.iter().map(|key| key.0).collect();
    if let DatabaseUrl::Sqlite(url) = &config.database.url
        && let Some(path) = key_file(url)
        && (place == Place::File || path.exists())
    {
        keys.push(of_file(&path, ids.as_ref())?);
    }
    let kept = match place {
        Place::Database => Some(of_database(database).await?),
        Place::Setting | Place::File => database.sealing_key().await?,
    };
    if let Some(kept) = kept {
        keys.push(<[u8; KEY_BYTES]>::try_from(kept).map_err(|_| anyhow!("the key in the database is none"))?);
    }
    Ok(Arc::new(SecretVault::new(&keys, ids).context("TASKFLOW_SECRETS_KEY")?))
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

/// Beside the database's file; a database in memory has none.
fn key_file(url: &str) -> Option<PathBuf> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return None;
    }
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url);
    let path = path.split('?').next().unwrap_or(path);
    Some(PathBuf::from(format!("{path}.key")))
}

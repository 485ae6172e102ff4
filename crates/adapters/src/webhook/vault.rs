//! Secrets at rest: AES-256-GCM-SIV.
//!
//! What is sealed is bound to its tenant, and a rule's secret to its rule and its
//! slot too, so that a row that is copied to another place opens nothing there. The envelope names the
//! key that sealed it, so that a new key can be put before the old one, which
//! then only opens. A repeated nonce, however unlikely, would reveal no more
//! than that two secrets are the same.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use taskflow_application::ports::{Ids, SecretOf, Vault};

/// The length of a key.
pub const KEY_BYTES: usize = 32;
const VERSION: u8 = 1;
const KEY_ID: usize = 4;
const NONCE: usize = 12;

/// Why there is no vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A key is no key.
    #[error("a key must be 32 bytes in Base64")]
    Key,
    /// The file of the key cannot be read or made.
    #[error("the key file cannot be used: {0}")]
    File(#[from] std::io::Error),
}

struct SealingKey {
    id: [u8; KEY_ID],
    cipher: Aes256GcmSiv,
}

/// Seals with the first of its keys, and opens with each.
pub struct SecretVault {
    keys: Vec<SealingKey>,
    ids: Arc<dyn Ids>,
}

impl fmt::Debug for SecretVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretVault({} keys)", self.keys.len())
    }
}

impl SecretVault {
    /// A vault of these keys, the current one first.
    pub fn new(keys: &[[u8; KEY_BYTES]], ids: Arc<dyn Ids>) -> Result<Self, VaultError> {
        let key = |bytes: &[u8; KEY_BYTES]| {
            let mut id = [0; KEY_ID];
            id.copy_from_slice(&Sha256::digest([b"taskflow key id".as_slice(), bytes].concat())[..KEY_ID]);
            let cipher = Aes256GcmSiv::new_from_slice(bytes).map_err(|_| VaultError::Key)?;
            Ok(SealingKey { id, cipher })
        };
        let keys = keys.iter().map(key).collect::<Result<Vec<_>, VaultError>>()?;
        if keys.is_empty() { Err(VaultError::Key) } else { Ok(Self { keys, ids }) }
    }
}

fn bound_to(of: SecretOf) -> Vec<u8> {
    match of {
        SecretOf::Rule { tenant, rule, slot } => {
            let mut bytes = b"taskflow/rule_secret".to_vec();
            bytes.extend(tenant.0.to_be_bytes());
            bytes.extend(rule.0.as_bytes());
            bytes.extend([slot, VERSION]);
            bytes
        }
        SecretOf::Header { tenant } => {
            let mut bytes = b"taskflow/target_header".to_vec();
            bytes.extend(tenant.0.to_be_bytes());
            bytes.push(VERSION);
            bytes
        }
    }
}

impl Vault for SecretVault {
    fn seal(&self, of: SecretOf, secret: &[u8]) -> Result<Vec<u8>, String> {
        let key = self.keys.first().ok_or("there is no key")?;
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&self.ids.bytes()[..NONCE]);
        let payload = Payload { msg: secret, aad: &bound_to(of) };
        let sealed = key.cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| "sealing failed")?;
        Ok([&[VERSION], key.id.as_slice(), &nonce, &sealed].concat())
    }

    fn open(&self, of: SecretOf, sealed: &[u8]) -> Result<Vec<u8>, String> {
        let unreadable = || "a sealed secret is not of the form that it was written in".to_owned();
        let (&version, rest) = sealed.split_first().ok_or_else(unreadable)?;
        let (id, rest) = rest.split_at_checked(KEY_ID).ok_or_else(unreadable)?;
        let (nonce, text) = rest.split_at_checked(NONCE).ok_or_else(unreadable)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| unreadable())?;
        if version != VERSION {
            return Err(unreadable());
        }
        let key = self.keys.iter().find(|key| key.id == id);
        let key = key.ok_or("a secret was sealed with a key that is not among TASKFLOW_SECRETS_KEY")?;
        let payload = Payload { msg: text, aad: &bound_to(of) };
        let opened = key.cipher.decrypt(&Nonce::from(nonce), payload);
        opened.map_err(|_| "a sealed secret does not belong where it stands, or was changed".to_owned())
    }

    fn is_stale(&self, sealed: &[u8]) -> bool {
        let id = sealed.get(1..=KEY_ID);
        let at = self.keys.iter().position(|key| id == Some(key.id.as_slice()));
        at.is_some_and(|at| at > 0)
    }
}

/// A key as the configuration has it: 32 bytes in Base64.
pub fn key_from_base64(text: &str) -> Result<[u8; KEY_BYTES], VaultError> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| VaultError::Key)?;
    bytes.try_into().map_err(|_| VaultError::Key)
}

/// The key of a file, which is made if it does not exist, readable by its owner
/// alone. Whether it was made.
pub fn key_of_file(path: &Path, ids: &dyn Ids) -> Result<([u8; KEY_BYTES], bool), VaultError> {
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = std::fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let mut key = [0; KEY_BYTES];
            key[..16].copy_from_slice(&ids.bytes());
            key[16..].copy_from_slice(&ids.bytes());
            writeln!(file, "{}", STANDARD.encode(key))?;
            file.sync_all()?;
            Ok((key, true))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok((key_from_base64(&std::fs::read_to_string(path)?)?, false))
        }
        Err(error) => Err(error.into()),
    }
}

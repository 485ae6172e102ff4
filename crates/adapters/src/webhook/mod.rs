//! Webhooks: whose delivery is it, and where their secrets are kept.
//!
//! A signature is checked over the bytes as they came, before anything is read
//! of them, and compared in a time that tells nothing. Where the scheme signs a
//! time, a delivery that is too old or too new is refused, so that one that was
//! overheard cannot be played again later; within that window the delivery's id,
//! which counts once, does the same.

use taskflow_application::ports::{Signatures, Verified};
use taskflow_domain::Timestamp;
use taskflow_domain::rule::{Scheme, SignatureSpec};

mod delivery;
mod generic;
mod hmac;
mod schemes;
#[cfg(test)]
mod tests;
mod vault;

use delivery::Delivery;
pub use vault::{KEY_BYTES, SecretVault, VaultError, key_from_base64, key_of_file};

/// How far a delivery's time may be from now if the rule does not say, in seconds.
pub const TOLERANCE_S: u64 = 300;

/// Checks the signatures of all schemes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verifier;

impl Signatures for Verifier {
    fn verify(
        &self,
        spec: &SignatureSpec,
        secrets: &[Vec<u8>],
        headers: &[(String, String)],
        body: &[u8],
        now: Timestamp,
    ) -> Result<Verified, String> {
        let delivery = Delivery { spec, secrets, headers, body, now };
        if spec.scheme != Scheme::None && secrets.is_empty() {
            return Err("the rule has no secret to check the signature with".to_owned());
        }
        let mut verified = match spec.scheme {
            Scheme::None => Verified::default(),
            Scheme::Standard => schemes::standard(&delivery)?,
            Scheme::Github => schemes::github(&delivery)?,
            Scheme::Stripe => schemes::stripe(&delivery)?,
            Scheme::Slack => schemes::slack(&delivery)?,
            Scheme::HmacSha256 => generic::verify(&delivery)?,
        };
        if let Some(header) = &spec.id_header {
            verified.delivery_id = Some(delivery.header(&header.to_ascii_lowercase())?.to_owned());
        }
        verified.delivery_id = verified.delivery_id.filter(|id| !id.is_empty() && id.len() <= 255);
        // A signed delivery that has no name could be played again: its bytes name it.
        if spec.scheme != Scheme::None && verified.delivery_id.is_none() {
            verified.delivery_id = Some(delivery.fingerprint());
        }
        Ok(verified)
    }
}

pub use generic::faults as signature_faults;

//! Webhooks: whose delivery is it, and where their secrets are kept.
//!
//! A signature is checked over the bytes as they came, before anything is read
//! of them, and compared in a time that tells nothing. Where the scheme signs a
//! time, a delivery that is too old or too new is refused, so that one that was
//! overheard cannot be played again later; within that window the delivery's id,
//! which counts once, does the same.

use taskflow_application::ports::{DeliveryRefused, NamedIn, Signatures, Verified};
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
/// The longest id of a delivery, in characters.
const LONGEST_ID: usize = 255;
/// The header that names a delivery that nobody signs.
const OPEN_ID: &str = "webhook-id";
/// The header that names a delivery of GitHub's.
const GITHUB_ID: &str = "x-github-delivery";

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
    ) -> Result<Verified, DeliveryRefused> {
        let delivery = Delivery { spec, secrets, headers, body, now };
        if spec.scheme != Scheme::None && secrets.is_empty() {
            let refused = "the rule has no secret to check the signature with".to_owned();
            return Err(DeliveryRefused::Signature(refused));
        }
        let verified = match spec.scheme {
            Scheme::None => Ok(Verified::default()),
            Scheme::Standard => schemes::standard(&delivery),
            Scheme::Github => schemes::github(&delivery),
            Scheme::Stripe => schemes::stripe(&delivery),
            Scheme::Slack => schemes::slack(&delivery),
            Scheme::HmacSha256 => generic::verify(&delivery),
        };
        let Verified { delivery_id, challenge } = verified.map_err(DeliveryRefused::Signature)?;
        let delivery_id = id(&delivery, delivery_id)
            .map_err(|cause| DeliveryRefused::Id { place: named_in(&delivery), cause })?;
        Ok(Verified { delivery_id, challenge })
    }
}

/// Where a delivery says how it is called.
fn named_in(delivery: &Delivery<'_>) -> NamedIn {
    NamedIn::Header(match (&delivery.spec.id_header, delivery.spec.scheme) {
        (Some(name), _) => name.clone(),
        (None, Scheme::Github) => GITHUB_ID.to_owned(),
        (None, Scheme::Stripe) => return NamedIn::Field(schemes::STRIPE_ID),
        (None, Scheme::Slack) => return NamedIn::Field(schemes::SLACK_ID),
        (None, Scheme::Standard) => delivery.first_of(&schemes::STANDARD_ID).to_owned(),
        (None, Scheme::None | Scheme::HmacSha256) => OPEN_ID.to_owned(),
    })
}

/// How a delivery is called; `signed` is how its scheme calls it. An id that cannot
/// be kept is refused: without it a repeat would count again.
fn id(delivery: &Delivery<'_>, signed: Option<String>) -> Result<Option<String>, String> {
    let id = match (&delivery.spec.id_header, delivery.spec.scheme) {
        (Some(name), _) => Some(delivery.header(&name.to_ascii_lowercase())?.to_owned()),
        (None, Scheme::None) => delivery.header_if_there(OPEN_ID)?.map(str::to_owned),
        (None, Scheme::Github) => delivery.header_if_there(GITHUB_ID)?.map(str::to_owned),
        (None, _) => signed.filter(|id| !id.is_empty()),
    };
    let good = |id: &str| id.len() <= LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic());
    match id {
        Some(id) if !good(&id) => Err(format!("an id has 1 to {LONGEST_ID} visible ASCII characters")),
        // A signed delivery that has no name could be played again: its bytes name it.
        None if delivery.spec.scheme != Scheme::None => Ok(Some(delivery.fingerprint())),
        id => Ok(id),
    }
}

pub use generic::faults as signature_faults;

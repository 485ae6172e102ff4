//! HMAC with SHA-256, compared in a time that tells nothing.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// Whether one of `given` is the code of `parts` under one of `secrets`.
pub(super) fn any_matches(secrets: &[Vec<u8>], parts: &[&[u8]], given: &[Vec<u8>]) -> bool {
    let mut met = Choice::from(0);
    for secret in secrets {
        let Some(code) = code(secret, parts) else { continue };
        for given in given {
            met |= code.ct_eq(given.as_slice());
        }
    }
    met.into()
}

fn code(secret: &[u8], parts: &[&[u8]]) -> Option<Vec<u8>> {
    // A key of no length would be everybody's.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok().filter(|_| !secret.is_empty())?;
    for part in parts {
        mac.update(part);
    }
    Some(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
pub(super) fn sign(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    code(secret, parts).unwrap()
}

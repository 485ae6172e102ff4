//! One delivery, as a scheme looks at it.

use serde_json::Value;
use sha2::{Digest, Sha256};
use taskflow_domain::Timestamp;
use taskflow_domain::rule::SignatureSpec;

use super::TOLERANCE_S;
use super::{generic, hmac};

/// Signatures in one header that are looked at.
const MOST_SIGNATURES: usize = 16;

pub(super) struct Delivery<'a> {
    pub(super) spec: &'a SignatureSpec,
    pub(super) secrets: &'a [Vec<u8>],
    pub(super) headers: &'a [(String, String)],
    pub(super) body: &'a [u8],
    pub(super) now: Timestamp,
}

impl<'a> Delivery<'a> {
    /// The header `name`, which must be there once.
    pub(super) fn header(&self, name: &str) -> Result<&'a str, String> {
        let mut met = self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.trim());
        match (met.next(), met.next()) {
            (Some(value), None) if !value.is_empty() => Ok(value),
            (Some(_), Some(_)) => Err(format!("the header {name} occurs more than once")),
            _ => Err(format!("the header {name} is missing or empty")),
        }
    }

    /// The header `name`, which may be left out and must not be there twice or empty.
    pub(super) fn header_if_there(&self, name: &str) -> Result<Option<&'a str>, String> {
        let there = self.headers.iter().any(|(key, _)| key == name);
        if there { self.header(name).map(Some) } else { Ok(None) }
    }

    /// The name of the first of some headers that is there.
    pub(super) fn first_of(&self, names: &[&'static str]) -> &'static str {
        let there = names.iter().find(|name| self.headers.iter().any(|(key, _)| key == **name));
        there.or(names.first()).copied().unwrap_or_default()
    }

    /// The first of some headers that is there.
    pub(super) fn header_of(&self, names: &[&'static str]) -> Result<&'a str, String> {
        self.header(self.first_of(names))
    }

    /// That `time`, seconds of Unix time, is near enough to now.
    pub(super) fn check_time(&self, time: &str) -> Result<(), String> {
        let seconds: i64 = time
            .parse()
            .ok()
            .filter(|_| time.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or("the time is no number of seconds")?;
        let tolerance = self.spec.tolerance_s.unwrap_or(TOLERANCE_S);
        let apart = (self.now.micros().div_euclid(1_000_000)).abs_diff(seconds);
        if apart > tolerance {
            return Err(format!("the delivery is too old or too new: its time is {apart} seconds from now"));
        }
        Ok(())
    }

    /// That one of `given` is the signature of `parts`, one after the other,
    /// under one of the secrets. Each is tried, however early one is met.
    pub(super) fn check(&self, parts: &[&[u8]], given: &[Vec<u8>]) -> Result<(), String> {
        Self::check_with(self.secrets, parts, given)
    }

    pub(super) fn check_with(secrets: &[Vec<u8>], parts: &[&[u8]], given: &[Vec<u8>]) -> Result<(), String> {
        if given.is_empty() {
            return Err("there is no signature of the form that the scheme has".to_owned());
        }
        let given = &given[..given.len().min(MOST_SIGNATURES)];
        if hmac::any_matches(secrets, parts, given) {
            Ok(())
        } else {
            Err("the signature does not match".to_owned())
        }
    }

    /// A name that follows from what was signed: the body and, of the generic scheme,
    /// the time. A header that nobody signed would let a copy pass for another one.
    pub(super) fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(self.body);
        if let Some(name) = generic::signed_time(self.spec) {
            digest.update(self.header(&name).unwrap_or_default());
        }
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
        let digits = digest.finalize();
        let hex = digits.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        "sha256:".chars().chain(hex).collect()
    }

    /// A text of the body, where the body is a JSON object. One with U+0000 is
    /// none: PostgreSQL could not keep it.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let body: Value = serde_json::from_slice(self.body).ok()?;
        body.get(key)?.as_str().filter(|text| !text.contains('\0')).map(str::to_owned)
    }
}

/// Bytes written in hexadecimal, as a SHA-256 is.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > 128 || !text.is_ascii() {
        return None;
    }
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    Some(digits?.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

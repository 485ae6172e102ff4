//! The text of a key: `tf_<kind>_<id>_<secret>_<check>`.
//!
//! The kind says whose it is, so that one is not mistaken for another in a file
//! of settings; the id is what it is looked up by; the secret has 32 random
//! bytes; the check tells a mistyped key from a false one without a look into
//! the database, and lets scanners of source code know one when they see it.

use taskflow_domain::KeyId;
use uuid::Uuid;

use super::Digest;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Whose a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A tenant's.
    Tenant,
    /// An operator's.
    Operator,
}

impl KeyKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Tenant => "key",
            Self::Operator => "op",
        }
    }
}

/// A key as it was shown, checked for its form only.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// Whose it says it is.
    pub kind: KeyKind,
    /// What it is looked up by.
    pub id: KeyId,
    /// What its secret comes to.
    pub digest: Digest,
}

impl Token {
    /// The text of a new key, to be shown once, and what is kept of it.
    pub fn make(kind: KeyKind, id: KeyId, random: [[u8; 16]; 2]) -> (String, Self) {
        let secret = [in_base62(random[0], 22), in_base62(random[1], 22)].concat();
        let body = format!("tf_{}_{}_{secret}", kind.word(), in_base62(*id.0.as_bytes(), 22));
        let check = in_base62(u128::from(crc32(body.as_bytes())).to_be_bytes(), 6);
        (format!("{body}_{check}"), Self { kind, id, digest: Digest::of(&secret) })
    }

    /// Reads a key. `None` if no such key can ever have been made.
    pub fn parse(text: &str) -> Option<Self> {
        let (body, check) = text.rsplit_once('_')?;
        let mut parts = body.split('_');
        let (tf, kind, id, secret) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let kind = [KeyKind::Tenant, KeyKind::Operator].into_iter().find(|known| known.word() == kind)?;
        let form = tf == "tf" && parts.next().is_none() && id.len() == 22 && secret.len() == 44;
        if !form
            || !text.is_ascii()
            || check != in_base62(u128::from(crc32(body.as_bytes())).to_be_bytes(), 6)
        {
            return None;
        }
        let id = KeyId(Uuid::from_u128(from_base62(id)?));
        Some(Self { kind, id, digest: Digest::of(secret) })
    }
}

/// A number of 16 bytes in so many digits.
fn in_base62(bytes: [u8; 16], digits: usize) -> String {
    let mut rest = u128::from_be_bytes(bytes);
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    text.into_iter().map(char::from).collect()
}

fn from_base62(text: &str) -> Option<u128> {
    text.bytes().try_fold(0_u128, |number, byte| {
        let digit = DIGITS.iter().position(|known| *known == byte)?;
        number.checked_mul(62)?.checked_add(digit as u128)
    })
}

/// The checksum of IEEE 802.3. A key is short, so it is taken bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_key_is_read_back() {
        for (kind, seed) in [(KeyKind::Tenant, 0), (KeyKind::Operator, u8::MAX), (KeyKind::Tenant, 7)] {
            let id = KeyId(Uuid::from_u128(u128::from_be_bytes([seed; 16])));
            let (text, made) = Token::make(kind, id, [[seed; 16], [seed ^ 1; 16]]);
            let read = Token::parse(&text).unwrap();
            assert_eq!((read.kind, read.id, read.digest), (kind, id, made.digest));
            assert!(text.len() < 100, "{text}");
        }
    }

    /// Whatever character is changed, left out or doubled, it is no key.
    #[test]
    fn a_mistyped_key_is_no_key() {
        let id = KeyId(Uuid::from_u128(0x0197_0c2e_9f5c_7b1a_8a44_3f1f_6c0f_7d11));
        let (text, _) = Token::make(KeyKind::Tenant, id, [[3; 16], [9; 16]]);
        let mut tried = 0;
        for at in 0..text.len() {
            for with in ["", "x", "_", "00", "é"] {
                let wrong = format!("{}{with}{}", &text[..at], &text[at + 1..]);
                if wrong != text {
                    assert!(Token::parse(&wrong).is_none(), "{wrong}");
                    tried += 1;
                }
            }
        }
        assert!(tried > 300, "{tried}");
        for none in ["", "_", "tf", "tf____", "tf_key_1_2_3", &text.to_lowercase(), &format!(" {text}")] {
            assert!(Token::parse(none).is_none(), "{none}");
        }
    }
}

//! Names that people choose: tenants, queues, kinds, workers.
//!
//! One rule for all four: 1 to 100 characters, beginning with a letter or a
//! digit, then letters, digits and `. _ - : /`. A tenant's slug is narrower,
//! because it stands in host names and file names: lower case, no `: / . _`.

use std::fmt;
use std::sync::Arc;

/// The longest name, in characters.
pub const MAX_LEN: usize = 100;

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("must not be empty")]
    Empty,
    /// Longer than [`MAX_LEN`].
    #[error("must have at most 100 characters")]
    TooLong,
    /// A character outside the allowed set.
    #[error("must begin with a letter or digit and hold only {0}")]
    Character(&'static str),
}

fn check(text: &str, allowed: &'static str, extra: &[u8], lower: bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_LEN {
        return Err(NameError::TooLong);
    }
    let alnum = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase() || (!lower && b.is_ascii_uppercase());
    let bytes = text.as_bytes();
    let good = alnum(bytes[0]) && bytes.iter().all(|&b| alnum(b) || extra.contains(&b));
    if good { Ok(()) } else { Err(NameError::Character(allowed)) }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $allowed:literal, $extra:literal, $lower:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and keeps it.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text, $allowed, $extra, $lower)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// Who owns a job, as the outside names it.
    TenantSlug, "lower-case letters, digits and '-'", b"-", true
);
name!(
    /// A queue.
    QueueName, "letters, digits and '. _ - : /'", b"._-:/", false
);
name!(
    /// What a job does.
    Kind, "letters, digits and '. _ - : /'", b"._-:/", false
);
name!(
    /// Who runs jobs: one process, or one remote worker.
    WorkerName, "letters, digits and '. _ - : /'", b"._-:/", false
);

impl TenantSlug {
    /// The tenant that exists from the start.
    pub fn fallback() -> Self {
        Self("default".into())
    }
}

impl QueueName {
    /// The queue of a job that names none.
    pub fn fallback() -> Self {
        Self("default".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(Kind::new("send-email").is_ok());
        assert!(QueueName::new("billing:eu/1").is_ok());
        assert_eq!(Kind::new(""), Err(NameError::Empty));
        assert_eq!(Kind::new(&"x".repeat(101)), Err(NameError::TooLong));
        assert!(Kind::new("-x").is_err());
        assert!(Kind::new("a b").is_err());
        assert!(TenantSlug::new("Acme").is_err());
        assert!(TenantSlug::new("acme-2").is_ok());
    }
}

//! Identities. Each is a type of its own, so that none is passed for another.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::from_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// A job. `UUIDv7`, so that order of ids is order of creation.
    JobId
);
uuid_id!(
    /// What ties together everything that one cause brought about.
    CorrelationId
);
uuid_id!(
    /// An automation rule.
    RuleId
);
uuid_id!(
    /// One evaluation of an automation rule.
    FiringId
);
uuid_id!(
    /// An event or a webhook delivery that came from outside.
    EventId
);
uuid_id!(
    /// One occurrence of a rule that acts for many tenants.
    FanOutId
);
uuid_id!(
    /// An API key. What it names is no secret.
    KeyId
);

/// A tenant, inside the engine. The outside knows tenants by their slug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub i32);

/// A queue, inside the engine. The outside knows queues by their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub i32);

/// The fence of one lease. Of two tokens of one job the later one is greater,
/// because the attempt number fills the high bits; the low 48 bits are random,
/// so that a token cannot be guessed from the attempt number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseToken(pub i64);

impl LeaseToken {
    const RANDOM_BITS: u32 = 48;

    /// The token of attempt `attempt` (1..=32767) with 48 bits of `nonce`.
    pub const fn new(attempt: u16, nonce: u64) -> Self {
        let low = nonce & ((1 << Self::RANDOM_BITS) - 1);
        Self(((attempt as i64) << Self::RANDOM_BITS) | low as i64)
    }

    /// The attempt that this token was given for.
    pub const fn attempt(self) -> u16 {
        (self.0 >> Self::RANDOM_BITS) as u16
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LeaseToken {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        i64::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_attempt_has_a_greater_token() {
        let first = LeaseToken::new(1, u64::MAX);
        let second = LeaseToken::new(2, 0);
        assert!(first < second);
        assert_eq!((first.attempt(), second.attempt()), (1, 2));
        assert_eq!(first.to_string().parse::<LeaseToken>(), Ok(first));
    }
}

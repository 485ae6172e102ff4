//! New identities.

use std::sync::{Mutex, PoisonError};

use taskflow_application::ports::Ids;
use taskflow_domain::{JobId, Timestamp};
use uuid::{ContextV7, Timestamp as UuidTime, Uuid};

/// `UUIDv7` in rising order, and random bits.
#[derive(Debug, Default)]
pub struct SystemIds {
    context: Mutex<ContextV7>,
}

impl SystemIds {
    /// A new source of identities.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Ids for SystemIds {
    fn job(&self, now: Timestamp) -> JobId {
        let micros = now.micros().max(0);
        let seconds = (micros / 1_000_000) as u64;
        let nanos = (micros % 1_000_000) as u32 * 1_000;
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        JobId(Uuid::new_v7(UuidTime::from_unix(&*context, seconds, nanos)))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that makes identities")]
    fn nonce(&self) -> u64 {
        rand::random::<u64>() >> 16
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that makes identities")]
    fn bytes(&self) -> [u8; 16] {
        rand::random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise() {
        let ids = SystemIds::new();
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let made: Vec<_> = (0..10_000).map(|_| ids.job(now)).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        assert_eq!(made[0].0.get_version_num(), 7);
        assert!(ids.nonce() < 1 << 48);
    }
}

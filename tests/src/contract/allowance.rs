//! Request rates: one allowance, whoever draws.

use anyhow::Result;
use taskflow_application::ports::{Stores, Whose};
use taskflow_domain::queue::Rate;
use taskflow_domain::throttle::Throttle;
use taskflow_domain::{KeyId, TenantId, Timestamp};
use uuid::Uuid;

const TENANT: Whose = Whose::Tenant(TenantId(7));

/// What is drawn is what the domain says, at any speed, with a clock that steps back
/// and a rate that changes.
pub async fn draws_are_the_domains(stores: &Stores) -> Result<()> {
    let rates = [
        Rate { limit: 10, period_ms: 1_000 },
        Rate { limit: 3, period_ms: 60_000 },
        Rate { limit: 5_000_000, period_ms: 1 },
    ];
    let (mut throttle, mut now, mut chance) = (Throttle::FRESH, 1_000_000_000_i64, 42_u64);
    for turn in 0..400 {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        now += (chance >> 40) as i64 % 300_000 - 60_000;
        let (rate, want) = (rates[turn / 50 % 3], 1 + (chance >> 33) as u32 % 6);
        let at = Timestamp::from_micros(now);
        let expected = throttle.draw(rate, want, at);
        let drawn = stores.allowances.draw(TENANT, rate, want, at).await?;
        assert_eq!(drawn, expected, "turn {turn}: {want} of {rate:?} at {now}");
    }
    Ok(())
}

/// Many who draw at once get no more than there is, and nobody draws from another's.
pub async fn nothing_is_drawn_twice(stores: &Stores) -> Result<()> {
    let (rate, now) = (Rate { limit: 25, period_ms: 60_000 }, Timestamp::from_micros(5_000_000_000));
    let draws = (0..20).map(|_| {
        let allowances = stores.allowances.clone();
        tokio::spawn(async move { allowances.draw(TENANT, rate, 3, now).await })
    });
    let mut granted = 0;
    for draw in draws.collect::<Vec<_>>() {
        granted += draw.await??.granted;
    }
    assert_eq!(granted, 25);
    for other in [Whose::Tenant(TenantId(8)), Whose::Key(KeyId(Uuid::from_u128(7)))] {
        assert_eq!(stores.allowances.draw(other, rate, 30, now).await?.granted, 25, "{other}");
    }
    Ok(())
}

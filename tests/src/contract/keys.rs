//! API keys: kept, found, ended.

use anyhow::{Context as _, Result};
use taskflow_application::access::Digest;
use taskflow_application::ports::{KeyPage, KnownKey, Rotated, Rotation, Stores};
use taskflow_domain::queue::Rate;
use taskflow_domain::{Actor, ApiKey, KeyId, Scope, Scopes, TenantId, TenantSlug};
use uuid::Uuid;

use crate::builders::{at, slug};

fn id(number: u128) -> KeyId {
    KeyId(Uuid::from_u128(number))
}

pub(super) fn key(number: u128, tenant: Option<(TenantId, TenantSlug)>) -> KnownKey {
    let scopes = if tenant.is_some() {
        [Scope::JobsRead, Scope::Worker].into_iter().collect()
    } else {
        Scopes::OPERATOR
    };
    let key = ApiKey {
        id: id(number),
        family: id(number),
        name: format!("key {number}, with ünicode"),
        tenant,
        scopes,
        rate: None,
        created_at: at(1),
        created_by: Actor::operator(),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    KnownKey { key, digest: Digest::of(&format!("secret {number}")) }
}

async fn acme(stores: &Stores) -> Result<(TenantId, TenantSlug)> {
    let tenant = stores.tenants.ensure(&slug("acme")?, at(0)).await?;
    Ok((tenant.id, tenant.slug))
}

async fn one(stores: &Stores, number: u128) -> Result<KnownKey> {
    stores.keys.find(&[id(number)]).await?.pop().context("the key")
}

/// A key comes back as it was made; one that nobody made does not.
pub async fn a_key_comes_back(stores: &Stores) -> Result<()> {
    let mut made = key(7, Some(acme(stores).await?));
    made.key.rate = Some(Rate { limit: 5, period_ms: 1_500 });
    made.key.expires_at = Some(at(90));
    let operators = key(8, None);
    stores.keys.create(&made, None).await?;
    stores.keys.create(&operators, None).await?;
    assert_eq!(one(stores, 7).await?, made);
    assert_eq!(one(stores, 8).await?, operators);
    assert_eq!(stores.keys.find(&[id(9), id(8)]).await?, [operators]);
    assert_eq!(stores.keys.find(&[]).await?, []);
    assert!(stores.keys.create(&made, None).await.is_err(), "an id is a key's alone");
    Ok(())
}

/// A key is ended once, and found ended at once.
pub async fn a_revoked_key_keeps_its_end(stores: &Stores) -> Result<()> {
    stores.keys.create(&key(7, None), None).await?;
    assert!(one(stores, 7).await?.key.is_live(at(5)));
    stores.keys.revoke(id(7), at(5), None).await?;
    stores.keys.revoke(id(7), at(9), None).await?;
    stores.keys.revoke(id(8), at(9), None).await?;
    let ended = one(stores, 7).await?.key;
    assert_eq!((ended.revoked_at, ended.is_live(at(4))), (Some(at(5)), false));
    Ok(())
}

/// A rotation of `of` at 5, of which `number` comes.
async fn rotate(stores: &Stores, number: u128, of: u128, old_ends: i64) -> Result<Rotated> {
    let mut known = key(number, None);
    known.key.family = one(stores, of).await?.key.family;
    let rotation = Rotation { of: id(of), old_ends: at(old_ends), now: at(5) };
    Ok(stores.keys.rotate(&known, rotation, None).await?)
}

/// The old key of a rotation ends when it says, or earlier if it already does.
pub async fn an_end_comes_nearer(stores: &Stores) -> Result<()> {
    for (old, new, was, set, expected) in [(7, 17, 90, 50, 50), (8, 18, 20, 90, 20)] {
        let mut known = key(old, None);
        known.key.expires_at = Some(at(was));
        stores.keys.create(&known, None).await?;
        assert_eq!(rotate(stores, new, old, set).await?, Rotated::Done);
        assert_eq!(one(stores, old).await?.key.expires_at, Some(at(expected)));
        assert_eq!(one(stores, new).await?.key.family, id(old));
    }
    let key = one(stores, 8).await?.key;
    assert!(key.is_live(at(19)) && !key.is_live(at(20)));
    Ok(())
}

/// Two keys of one family are good, and no rotation makes a third.
pub async fn two_keys_of_a_family_are_good(stores: &Stores) -> Result<()> {
    stores.keys.create(&key(7, None), None).await?;
    stores.keys.create(&key(1, None), None).await?;
    assert_eq!(stores.keys.family(id(99)).await?, []);
    let rotation = Rotation { of: id(99), old_ends: at(9), now: at(5) };
    assert_eq!(stores.keys.rotate(&key(8, None), rotation, None).await?, Rotated::Gone);
    assert_eq!(rotate(stores, 8, 7, 50).await?, Rotated::Done);
    let crowded = async |number: u128| -> Result<Rotated> {
        Ok(Rotated::Crowded(Box::new(one(stores, number).await?.key)))
    };
    assert_eq!(rotate(stores, 9, 8, 50).await?, crowded(7).await?, "its predecessor is good");
    assert_eq!(rotate(stores, 9, 7, 50).await?, crowded(8).await?, "its successor is good");
    assert_eq!(one(stores, 8).await?.key.expires_at, None, "what was refused changed nothing");
    assert_eq!(rotate(stores, 9, 8, 5).await?, Rotated::Done, "one that ends now makes room");
    assert_eq!(rotate(stores, 10, 8, 5).await?, Rotated::Gone);
    assert_eq!(rotate(stores, 10, 9, 50).await?, crowded(7).await?);
    stores.keys.revoke(id(7), at(5), None).await?;
    assert_eq!(rotate(stores, 10, 9, 50).await?, Rotated::Done);
    for member in [7, 8, 9, 10] {
        let family = stores.keys.family(id(member)).await?;
        assert_eq!(family.iter().map(|key| key.id).collect::<Vec<_>>(), [7, 8, 9, 10].map(id));
    }
    assert_eq!(stores.keys.family(id(1)).await?, [one(stores, 1).await?.key]);
    Ok(())
}

/// Of rotations at the same moment one makes a key.
pub async fn rotations_take_turns(stores: &Stores) -> Result<()> {
    stores.keys.create(&key(7, None), None).await?;
    let all = (10..18).map(|number| rotate(stores, number, 7, 50));
    let all = futures_util::future::try_join_all(all).await?;
    assert_eq!(all.iter().filter(|rotated| **rotated == Rotated::Done).count(), 1, "{all:?}");
    assert_eq!(stores.keys.family(id(7)).await?.len(), 2);
    Ok(())
}

/// The last use is the latest that was told.
pub async fn the_last_use_is_the_latest(stores: &Stores) -> Result<()> {
    for number in [7, 8] {
        stores.keys.create(&key(number, None), None).await?;
    }
    stores.keys.used(&[(id(8), at(5)), (id(7), at(9)), (id(99), at(9))]).await?;
    stores.keys.used(&[(id(8), at(7)), (id(7), at(2))]).await?;
    stores.keys.used(&[]).await?;
    assert_eq!(one(stores, 7).await?.key.last_used_at, Some(at(9)));
    assert_eq!(one(stores, 8).await?.key.last_used_at, Some(at(7)));
    Ok(())
}

/// Keys are listed page by page, newest first, of one tenant or of all.
pub async fn keys_are_listed_in_pages(stores: &Stores) -> Result<()> {
    let acme = acme(stores).await?;
    for number in 1..=5 {
        stores.keys.create(&key(number, (number % 2 == 1).then(|| acme.clone())), None).await?;
    }
    for (tenant, expected) in [(None, vec![5, 4, 3, 2, 1]), (Some(acme.0), vec![5, 3, 1])] {
        let mut before = None;
        let mut found = Vec::new();
        loop {
            let page = stores.keys.list(KeyPage { tenant, before, limit: 2 }).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            found.extend(page.iter().map(|key| key.id.0.as_u128()));
        }
        assert_eq!(found, expected);
    }
    Ok(())
}

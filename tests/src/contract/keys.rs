//! API keys: kept, found, ended.

use anyhow::{Context as _, Result};
use taskflow_application::access::Digest;
use taskflow_application::ports::{KeyPage, KnownKey, Stores};
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
    stores.keys.create(&made, None, None).await?;
    stores.keys.create(&operators, None, None).await?;
    assert_eq!(one(stores, 7).await?, made);
    assert_eq!(one(stores, 8).await?, operators);
    assert_eq!(stores.keys.find(&[id(9), id(8)]).await?, [operators]);
    assert_eq!(stores.keys.find(&[]).await?, []);
    assert!(stores.keys.create(&made, None, None).await.is_err(), "an id is a key's alone");
    Ok(())
}

/// A key is ended once, and found ended at once.
pub async fn a_revoked_key_keeps_its_end(stores: &Stores) -> Result<()> {
    stores.keys.create(&key(7, None), None, None).await?;
    assert!(one(stores, 7).await?.key.is_live(at(5)));
    stores.keys.revoke(id(7), at(5), None).await?;
    stores.keys.revoke(id(7), at(9), None).await?;
    stores.keys.revoke(id(8), at(9), None).await?;
    let ended = one(stores, 7).await?.key;
    assert_eq!((ended.revoked_at, ended.is_live(at(4))), (Some(at(5)), false));
    Ok(())
}

/// An end can be brought forward and not put off.
pub async fn an_end_comes_nearer(stores: &Stores) -> Result<()> {
    stores.keys.create(&key(7, None), None, None).await?;
    for (other, set, expected) in [(8, 50, 50), (9, 90, 50), (10, 20, 20)] {
        stores.keys.create(&key(other, None), Some((id(7), at(set))), None).await?;
        assert_eq!(one(stores, 7).await?.key.expires_at, Some(at(expected)));
    }
    let key = one(stores, 7).await?.key;
    assert!(key.is_live(at(19)) && !key.is_live(at(20)));
    Ok(())
}

/// The last use is the latest that was told.
pub async fn the_last_use_is_the_latest(stores: &Stores) -> Result<()> {
    for number in [7, 8] {
        stores.keys.create(&key(number, None), None, None).await?;
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
        stores.keys.create(&key(number, (number % 2 == 1).then(|| acme.clone())), None, None).await?;
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

//! The audit: a chain that only grows.

use anyhow::Result;
use taskflow_application::audit::{Seal, link};
use taskflow_application::ports::{AuditFilter, AuditHead, AuditNote, Stores};
use taskflow_domain::{Actor, Json, TenantSlug};

use crate::builders::{at, slug};

const START: AuditHead = AuditHead { seq: 0, seal: Seal::NONE };

fn note(number: i64, tenant: Option<TenantSlug>) -> AuditNote {
    AuditNote {
        at: at(number),
        actor: Actor::operator(),
        tenant,
        action: format!("queue.{}", if number % 2 == 0 { "put" } else { "pause" }),
        object: format!("queue:{number}"),
        reason: (number > 1).then(|| "because: 'ünicode' \"\u{202e}".to_owned()),
        before: (number > 2).then(|| Json::from_valid("{\"a\": 1.0}")),
        after: (number > 3).then(Json::null),
        request_id: format!("r{number}"),
    }
}

/// Entries come back as they were told, each sealed over the one before.
pub async fn the_chain_holds(stores: &Stores) -> Result<()> {
    assert_eq!(stores.audit.head().await?, START);
    let notes: Vec<_> = (1..=5).map(|number| note(number, None)).collect();
    stores.audit.append(&notes[..2]).await?;
    stores.audit.append(&[]).await?;
    stores.audit.append(&notes[2..]).await?;
    let linked = link(START, &notes);
    assert_eq!(stores.audit.chain(0, 10).await?, linked);
    assert_eq!(stores.audit.chain(2, 2).await?, linked[2..4]);
    assert_eq!(stores.audit.head().await?, AuditHead { seq: 5, seal: linked[4].seal });
    Ok(())
}

/// Whoever adds at the same time adds one after the other.
pub async fn nobody_branches_off(stores: &Stores) -> Result<()> {
    let adds = (1..=20).map(|number| {
        let audit = stores.audit.clone();
        tokio::spawn(async move { audit.append(&[note(number, None), note(number, None)]).await })
    });
    for add in adds.collect::<Vec<_>>() {
        add.await??;
    }
    let chain = stores.audit.chain(0, 100).await?;
    let notes: Vec<_> = chain.iter().map(|entry| entry.note.clone()).collect();
    assert_eq!((chain.len(), chain), (40, link(START, &notes)));
    Ok(())
}

/// The list is found by filter and read in pages, newest first.
pub async fn the_list_is_filtered(stores: &Stores) -> Result<()> {
    let acme = slug("acme")?;
    let notes: Vec<_> = (1..=9).map(|number| note(number, (number % 3 == 0).then(|| acme.clone()))).collect();
    stores.audit.append(&notes).await?;
    let none = AuditFilter::default;
    for (filter, expected) in [
        (none(), vec![9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (AuditFilter { tenant: Some(acme), ..none() }, vec![9, 6, 3]),
        (AuditFilter { action: Some("queue.put".into()), ..none() }, vec![8, 6, 4, 2]),
        (AuditFilter { object: Some("queue:4".into()), ..none() }, vec![4]),
        (AuditFilter { since: Some(at(3)), until: Some(at(6)), ..none() }, vec![5, 4, 3]),
        (AuditFilter { actor: Some("operator".into()), ..none() }, vec![9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (AuditFilter { actor: Some("api".into()), ..none() }, vec![]),
    ] {
        let mut before = None;
        let mut found: Vec<u64> = Vec::new();
        loop {
            let page = stores.audit.list(&filter, before, 2).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.seq);
            found.extend(page.iter().map(|entry| entry.seq));
        }
        assert_eq!(found, expected, "{filter:?}");
    }
    Ok(())
}

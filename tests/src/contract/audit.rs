//! The audit: a chain that only grows.

use anyhow::{Context as _, Result, bail};
use taskflow_application::audit::{MOST, Seal, link};
use taskflow_application::ports::{AuditFilter, AuditHead, AuditNote, Committed, QueuePut, RulePut, Stores};
use taskflow_domain::queue::QueueSettings;
use taskflow_domain::tenant::TenantSettings;
use taskflow_domain::{Actor, Json, TenantSlug, change};

use super::keys::key;
use crate::builders::{Scene, at, queue, slug};
use crate::rules::Draft;

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

/// An entry holds no more than its bound of either state, and is sealed as it is kept.
pub async fn an_entry_is_bounded(stores: &Stores) -> Result<()> {
    let document = |n: u32| serde_json::json!({"n": n, "payload": "x".repeat(200_000), "name": "same"});
    let states = [document(1), document(2)].map(|state| Some(Json::from(&state)));
    let [before, after] = states;
    let long = AuditNote { before: before.clone(), after, ..note(1, None) };
    let made = AuditNote { before: None, after: before, ..note(2, None) };
    let notes = [long, made];
    stores.audit.append(&notes).await?;
    let chain = stores.audit.chain(0, 10).await?;
    assert_eq!(chain, link(START, &notes));
    for entry in &chain {
        for state in [&entry.note.before, &entry.note.after].into_iter().flatten() {
            assert!(state.as_str().len() <= MOST, "{}", state.as_str().len());
        }
        assert_eq!(entry.seal, Seal::of(entry.before, entry.seq, &entry.note));
    }
    assert_eq!(chain[0].note.after.as_ref().map(Json::as_str), Some("{\"n\":2}"));
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

/// The numbers of the notes that are in the chain.
async fn told(stores: &Stores) -> Result<Vec<String>> {
    Ok(stores.audit.chain(0, 100).await?.into_iter().map(|entry| entry.note.request_id).collect())
}

/// A change that is made is noted with it, and one that is not made is not.
pub async fn a_change_and_its_note_are_one(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let note = |number| Some(note(number, None));
    stores
        .queues
        .put(QueuePut { note: note(1), ..QueuePut::new(queue("mail")?, QueueSettings::default(), at(1)) })
        .await?;
    stores.tenants.put(&slug("acme")?, &TenantSettings::default(), at(1), note(2)).await?;
    stores.keys.create(&key(7, None), note(3)).await?;
    assert!(stores.keys.create(&key(7, None), note(4)).await.is_err());
    stores.keys.revoke(key(7, None).key.id, at(2), note(5)).await?;
    let rule = Draft::manual(scene.tenant.id, 1).0;
    let actor = Actor::operator();
    assert_eq!(stores.rules.put(&rule, None, &actor, note(6)).await?, RulePut::Done);
    assert_eq!(stores.rules.put(&rule, None, &actor, note(7)).await?, RulePut::Conflict);
    assert!(stores.rules.delete(rule.tenant, rule.id, at(3), note(8)).await?);
    assert!(!stores.rules.delete(rule.tenant, rule.id, at(3), note(9)).await?);
    let job = scene.put_one(scene.job(1)?).await?;
    let job = scene.look(job, at(4)).await?;
    let Some(cancel) = change::cancel(&job, actor, None, at(4))? else { bail!("nothing to cancel") };
    for (number, expected) in [(10, Committed::Done), (11, Committed::Refused)] {
        let note = note(number).context("a note")?;
        assert_eq!(stores.jobs.commit_noted(&cancel, note).await?, expected);
    }
    assert_eq!(told(stores).await?, ["r1", "r2", "r3", "r5", "r6", "r8", "r10"]);
    Ok(())
}

//! What came from outside, and the outbox.

use anyhow::Result;
use taskflow_application::ports::{Appended, EventFilter, Fire, FireClaim, Fired, Happened, Stores};
use taskflow_domain::{Actor, TenantId};

use crate::builders::{Scene, at};
use crate::rules::{Draft, Stage, event, event_id};

/// Of one source, one id counts once; what has no id counts each time.
pub async fn an_id_counts_once_for_its_source(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let stranger = scene.tenant("stranger").await?;
    let mut elsewhere = event(scene.tenant.id, 3, "paid", Some("a"), at(1));
    elsewhere.source = "/elsewhere".into();
    let mut refused = event(scene.tenant.id, 6, "paid", Some("b"), at(1));
    refused.rejected = Some("the signature is wrong".into());
    let answers = stores
        .events
        .append(
            vec![
                event(scene.tenant.id, 1, "paid", Some("a"), at(1)),
                event(scene.tenant.id, 2, "paid", Some("a"), at(1)),
                elsewhere,
                event(stranger.id, 4, "paid", Some("a"), at(1)),
                event(scene.tenant.id, 5, "paid", None, at(1)),
                refused.clone(),
                event(scene.tenant.id, 7, "paid", Some("b"), at(1)),
            ],
            false,
        )
        .await?;
    let mut expected = vec![Appended::New; 7];
    expected[1] = Appended::Duplicate(event_id(1));
    assert_eq!(answers, expected);
    assert_eq!(stores.events.get(scene.tenant.id, event_id(6)).await?, Some(refused));
    assert_eq!(stores.events.get(scene.tenant.id, event_id(4)).await?, None);
    assert!(
        stores.events.pending(at(2), at(3), TenantId(0), 10).await?.is_empty(),
        "none was to be dispatched"
    );
    Ok(())
}

/// An event is in the outbox until something comes of it.
pub async fn an_event_leaves_the_outbox_with_its_firings(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let mut refused = event(scene.tenant.id, 2, "paid", None, at(1));
    refused.rejected = Some("no".into());
    let new = event(scene.tenant.id, 1, "paid", Some("a"), at(1));
    stores.events.append(vec![new.clone(), refused], true).await?;
    stores.events.append(vec![new], true).await?;
    let pending = stores.events.pending(at(2), at(10), TenantId(0), 10).await?;
    let [entry] = pending[..] else { anyhow::bail!("{pending:?}") };
    assert_eq!((entry.tenant, entry.what), (scene.tenant.id, Happened::Event(event_id(1))));
    assert_eq!(stores.events.prune(at(5), 10).await?, 1, "what is to be dispatched stays");
    let done = |id| Fire { claim: FireClaim::Pending(id), firings: Vec::new(), fan_outs: Vec::new() };
    assert_eq!(stores.rules.fire(vec![done(entry.id)]).await?, [Fired::Done(Vec::new())]);
    assert_eq!(stores.rules.fire(vec![done(entry.id)]).await?, [Fired::Lost]);
    assert!(stores.events.pending(at(99), at(100), TenantId(0), 10).await?.is_empty());
    assert_eq!(stores.events.prune(at(5), 10).await?, 1);
    Ok(())
}

/// The past is read newest first, in pages, by source, and by cause.
pub async fn the_past_is_read(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let tenant = scene.tenant.id;
    let mut events: Vec<_> =
        (1..=4u32).map(|n| event(tenant, n, "paid", Some(&n.to_string()), at(i64::from(n)))).collect();
    events[1].source = "webhook:key".into();
    events[2].rejected = Some("no".into());
    events[3].correlation_id = events[0].correlation_id;
    stores.events.append(events, false).await?;
    let ids = |filter: EventFilter| async move {
        let found = stores.events.recent(tenant, &filter, 10).await?;
        anyhow::Ok(found.iter().map(|event| event.id).collect::<Vec<_>>())
    };
    let all = EventFilter::default();
    assert_eq!(ids(all.clone()).await?, [4, 2, 1].map(event_id));
    assert_eq!(ids(EventFilter { rejected: true, ..all.clone() }).await?, [4, 3, 2, 1].map(event_id));
    assert_eq!(ids(EventFilter { webhook: Some(true), ..all.clone() }).await?, [event_id(2)]);
    assert_eq!(ids(EventFilter { webhook: Some(false), ..all.clone() }).await?, [4, 1].map(event_id));
    assert_eq!(ids(EventFilter { source: Some("/shop".into()), ..all.clone() }).await?, [4, 1].map(event_id));
    assert_eq!(ids(EventFilter { since: Some(at(2)), ..all.clone() }).await?, [4, 2].map(event_id));
    assert_eq!(ids(EventFilter { before: Some(event_id(4)), ..all }).await?, [2, 1].map(event_id));
    let cause = taskflow_domain::CorrelationId(event_id(1).0);
    let found = stores.events.by_cause(tenant, cause, 10).await?;
    assert_eq!(found.iter().map(|event| event.id).collect::<Vec<_>>(), [1, 4].map(event_id));
    Ok(())
}

/// Behind ten thousand entries of one tenant those of others wait for a turn, and
/// of many tenants each has its turn; all of them come once.
pub async fn tenants_take_turns_at_the_outbox(stores: &Stores) -> Result<()> {
    const FLOOD: u32 = 10_000;
    let scene = Scene::new(stores).await?;
    let mut small = Vec::new();
    for n in 0..30 {
        small.push(scene.tenant(&format!("small-{n}")).await?.id);
    }
    // The loudest is neither the first nor the last.
    let loud = small.remove(7);
    let flood: Vec<_> = (0..FLOOD).map(|n| event(loud, n + 1, "paid", None, at(1))).collect();
    for part in flood.chunks(500) {
        stores.events.append(part.to_vec(), true).await?;
    }
    let of = |(n, tenant): (usize, &TenantId)| {
        let n = FLOOD + 2 * u32::try_from(n).unwrap_or_default();
        [1, 2].map(|more| event(*tenant, n + more, "paid", None, at(2)))
    };
    stores.events.append(small.iter().enumerate().flat_map(of).collect(), true).await?;
    let mut seen = std::collections::BTreeSet::new();
    let (mut after, mut turns) = (TenantId(0), 0);
    let mut told = std::collections::BTreeMap::<TenantId, usize>::new();
    while small.iter().any(|tenant| told.get(tenant) != Some(&2)) {
        turns += 1;
        let taken = stores.events.pending(at(9), at(99), after, 100).await?;
        assert!(taken.len() == 100, "a turn is used up: {}", taken.len());
        for entry in &taken {
            assert!(seen.insert(entry.id), "an entry comes twice");
            *told.entry(entry.tenant).or_default() += 1;
        }
        let last = taken.iter().map(|entry| entry.tenant).max_by_key(|tenant| (*tenant <= after, *tenant));
        after = last.unwrap_or(after);
    }
    // Twenty-five tenants have a turn together, and there are thirty.
    assert!(turns <= 2, "the small tenants waited for {turns} turns");
    assert!(
        told.get(&loud).is_some_and(|count| *count >= 50),
        "what nobody else wants is the flood's: {told:?}"
    );
    // Nobody is left out where all are held but one.
    assert_eq!(
        stores.events.pending(at(9), at(99), after, 20_000).await?.len(),
        FLOOD as usize - told[&loud]
    );
    assert!(stores.events.pending(at(9), at(99), after, 1).await?.is_empty());
    assert_eq!(stores.events.pending(at(99), at(100), TenantId(i32::MAX), 7).await?.len(), 7, "for a while");
    Ok(())
}

/// An event is found by what its source calls it, unless it was refused.
pub async fn an_event_is_found_by_its_name(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let tenant = scene.tenant.id;
    let mut refused = event(tenant, 2, "paid", Some("b"), at(1));
    refused.rejected = Some("no".into());
    let good = event(tenant, 1, "paid", Some("a"), at(1));
    let source = good.source.clone();
    stores.events.append(vec![good, refused], false).await?;
    assert_eq!(stores.events.known(tenant, &source, "a").await?, Some(event_id(1)));
    let stranger = scene.tenant("stranger").await?.id;
    for (of, source, id) in [(tenant, &*source, "b"), (tenant, "/other", "a"), (stranger, &*source, "a")] {
        assert_eq!(stores.events.known(of, source, id).await?, None, "{source} {id}");
    }
    Ok(())
}

/// However many events of one tenant wait, and however many rules of it listen,
/// what another tenant's rule makes of an event comes in the next turn.
pub async fn a_flood_delays_others_by_a_turn(stores: &Stores) -> Result<()> {
    const FLOOD: u32 = 2_000;
    let scene = Scene::new(stores).await?;
    let (loud, quiet) = (scene.tenant("loud").await?.id, scene.tenant("quiet").await?.id);
    let stage = Stage::new(stores)?;
    for n in 1..=4 {
        stores.rules.put(&Draft::event(loud, n, "*").0, None, &Actor::api(), None).await?;
    }
    let rule = Draft::event(quiet, 9, "paid").0;
    stores.rules.put(&rule, None, &Actor::api(), None).await?;
    let flood: Vec<_> = (1..=FLOOD).map(|n| event(loud, n, "paid", None, at(1))).collect();
    for part in flood.chunks(500) {
        stores.events.append(part.to_vec(), true).await?;
    }
    // One turn is under way when the other's event comes.
    assert!(stage.rules.dispatch().await?.jobs > 0);
    stores.events.append(vec![event(quiet, FLOOD + 1, "paid", None, at(1))], true).await?;
    assert!(stage.rules.dispatch().await?.more, "there is more of the flood");
    assert_eq!(stage.told(&rule).await?, ["FIRED"]);
    Ok(())
}

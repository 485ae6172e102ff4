//! What came from outside, and the outbox.

use anyhow::Result;
use taskflow_application::ports::{Appended, EventFilter, Fire, FireClaim, Fired, Happened, Stores};

use crate::builders::{Scene, at};
use crate::rules::{event, event_id};

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
    assert!(stores.events.pending(at(2), at(3), 10).await?.is_empty(), "none was to be dispatched");
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
    let pending = stores.events.pending(at(2), at(10), 10).await?;
    let [entry] = pending[..] else { anyhow::bail!("{pending:?}") };
    assert_eq!((entry.tenant, entry.what), (scene.tenant.id, Happened::Event(event_id(1))));
    assert_eq!(stores.events.prune(at(5), 10).await?, 1, "what is to be dispatched stays");
    let done = |id| Fire { claim: FireClaim::Pending(id), firings: Vec::new(), fan_outs: Vec::new() };
    assert_eq!(stores.rules.fire(vec![done(entry.id)]).await?, [Fired::Done(Vec::new())]);
    assert_eq!(stores.rules.fire(vec![done(entry.id)]).await?, [Fired::Lost]);
    assert!(stores.events.pending(at(99), at(100), 10).await?.is_empty());
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

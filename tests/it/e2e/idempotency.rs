//! Safe repeats.

use anyhow::Result;
use serde_json::{Value, json};

use super::api::{Store, id_of};
use super::on_both_databases;

on_both_databases! {
    a_repeat_finds_the_first_job
    concurrent_repeats_make_one_job
}

fn job(number: u32) -> Value {
    json!({"kind": "noop", "target": {"type": "builtin", "name": "noop"}, "payload": {"number": number},
           "idempotency_key": "once"})
}

async fn a_repeat_finds_the_first_job(store: Store) -> Result<()> {
    let (process, api) = store.up().await?;
    let (status, first) = api.post("/v1/jobs", &job(1)).await?;
    assert_eq!(status, 201);
    let (status, again) = api.post("/v1/jobs", &job(1)).await?;
    assert_eq!((status.as_u16(), id_of(&again)?), (200, id_of(&first)?));
    let (status, problem) = api.post("/v1/jobs", &job(2)).await?;
    assert_eq!(status, 422, "{problem}");
    // A restart forgets nothing.
    drop(process);
    let (_process, api) = store.up().await?;
    let (status, again) = api.post("/v1/jobs", &job(1)).await?;
    assert_eq!((status.as_u16(), id_of(&again)?), (200, id_of(&first)?));
    Ok(())
}

async fn concurrent_repeats_make_one_job(store: Store) -> Result<()> {
    let (_process, api) = store.up().await?;
    let one = || async { api.post("/v1/jobs", &job(1)).await };
    let answers = futures_util::future::try_join_all((0..20).map(|_| one())).await?;
    let mut ids = std::collections::BTreeSet::new();
    let mut created = 0;
    for (status, body) in answers {
        match status.as_u16() {
            201 => created += 1,
            200 => {}
            // The first one is still in flight.
            409 => continue,
            _ => panic!("{status}: {body}"),
        }
        ids.insert(id_of(&body)?);
    }
    assert_eq!((created, ids.len()), (1, 1));
    let jobs = api.get("/v1/jobs?limit=500").await?;
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(1));
    Ok(())
}

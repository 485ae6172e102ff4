//! `taskflow doctor`: finds what does not agree with the jobs, and nothing else.

use anyhow::Result;
use serde_json::{Value, json};
use taskflow_tests::process::Launch;

use super::api::Store;
use super::on_both_databases;

on_both_databases! {
    the_doctor_finds_each_fault
}

/// Whether it ended well, and what it said.
fn doctor(store: &Store, more: &[&str]) -> Result<(bool, Value)> {
    let arguments = ["doctor", "--json"].into_iter().chain(more.iter().copied());
    let (status, output, log) = Launch::new(arguments).env("DATABASE_URL", &store.url()).output()?;
    let found = serde_json::from_str(&output).map_err(|fault| anyhow::anyhow!("{fault}: {output}\n{log}"))?;
    Ok((status.success(), found))
}

fn broken(found: &Value) -> Vec<(&str, u64)> {
    let checks = found["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let told = checks.iter().map(|check| (check["check"].as_str(), check["broken"].as_u64()));
    told.filter_map(|(name, times)| name.zip(times)).filter(|(_, times)| *times > 0).collect()
}

async fn the_doctor_finds_each_fault(store: Store) -> Result<()> {
    let (process, api) = store.up().await?;
    let job = |queue: &str, kind: &str| json!({"kind": kind, "queue": queue});
    api.put("/v1/admin/queues/narrow", &json!({"max_running": 3, "max_running_per_tenant": 2})).await?;
    for _ in 0..3 {
        api.submit(&job("narrow", "pulled")).await?;
    }
    let wish = json!({"worker_id": "w", "queues": ["narrow"], "kinds": ["pulled"], "lease_ms": 600_000});
    api.post("/v1/worker/claim", &wish).await?;
    // The engine works on, and its counters agree at every moment.
    let (well, found) = doctor(&store, &[])?;
    assert!(well && broken(&found).is_empty(), "{found}");
    assert_eq!(found["holds"], true);

    // A process that sweeps would mend what is about to be broken.
    drop(process);
    let faults = [
        ("queue_counters", "update queue set running = running + 1 where name = 'narrow'", true),
        ("limit_counters", "update limit_slot set running = running + 1", true),
        ("sleeping_lanes", "update lane set active = (1 = 0)", true),
        ("lane_settings", "update lane set weight = weight + 1", false),
        ("depths", "update depth set n = n + 1 where state = 3", false),
        ("places", "delete from ready", false),
    ];
    for (name, fault, mended) in faults {
        store.execute(fault).await?;
        let (well, found) = doctor(&store, &[])?;
        assert!(!well && broken(&found).iter().any(|(found, _)| *found == name), "{name}: {found}");
        let (well, found) = doctor(&store, &["--repair"])?;
        assert_eq!(well, mended, "{name}: {found}");
    }
    Ok(())
}

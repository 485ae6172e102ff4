//! Doing a command on one store, and looking at all that it shows afterwards.

use std::fmt::Write as _;

use anyhow::Result;
use taskflow_application::ports::{HeldLease, JobFilter, Page, QueueDepth, QueuePut, Stores};
use taskflow_domain::{JobState, Lease};

use super::resolve::{Command, World};

/// What a store answered: a text to compare, and the leases that it gave.
pub(super) async fn perform(stores: &Stores, command: &Command) -> Result<(String, Vec<Lease>)> {
    let jobs = &stores.jobs;
    let text = match command {
        Command::Insert { jobs: new, atomic } => {
            let answers = jobs.insert(new.clone(), *atomic).await?;
            // Of an insert that was refused as a whole, only the refusals are promised.
            format!("{answers:?}")
        }
        Command::Claim(request) => {
            let claim = jobs.claim(request).await?;
            let text = format!("{:#?}", claim.jobs);
            return Ok((text, claim.jobs.into_iter().map(|job| job.lease).collect()));
        }
        Command::Commit(changes) => format!("{:?}", jobs.commit(changes).await?),
        Command::Expired(now) => {
            let mut leases = jobs.expired(*now, 1_000).await?;
            leases.sort_by_key(|lease| (lease.tenant, lease.job));
            format!("{leases:#?}")
        }
        Command::Promote(now) => format!("{:?}", jobs.promote(*now, 1_000).await?),
        Command::Extend(leases, until) => format!("{:?}", jobs.extend(leases, *until).await?),
        Command::Progress(reports, at) => format!("{:?}", jobs.progress(reports, *at).await?),
        Command::Beat(worker) => {
            let mut held = stores.workers.beat(worker).await?;
            held.sort_by_key(|lease: &HeldLease| (lease.tenant, lease.job));
            format!("{held:?}")
        }
        Command::Leave(name, now) => format!("{:?}", stores.workers.leave(name, *now).await?),
        Command::Forget(before) => format!("{:?}", stores.workers.forget(*before).await?),
        Command::Prune { state, before, keys_before } => {
            format!("{:?}", jobs.prune(*state, *before, *keys_before, 1_000).await?)
        }
        Command::Tenant(slug, settings, now) => {
            format!("{:?}", stores.tenants.put(slug, settings, *now, None).await?)
        }
        Command::Queue(name, settings, now) => {
            format!("{:?}", stores.queues.put(QueuePut::new(name.clone(), settings.clone(), *now)).await?)
        }
        Command::Sweep(now) => format!("{:?}", jobs.sweep(*now).await?),
        Command::Nothing => String::new(),
    };
    Ok((text, Vec::new()))
}

/// Everything that a store shows, part by part.
pub(super) async fn observe(stores: &Stores, world: &World) -> Result<Vec<String>> {
    let mut sights = Vec::new();
    let all = Page { before: None, limit: 10_000 };
    for tenant in &world.tenants {
        let jobs = stores.reader.list(tenant.id, &JobFilter::default(), all, world.now).await?;
        for job in &jobs {
            let attempts = stores.reader.attempts(tenant.id, job.spec.id, 0, 10_000).await?;
            let events = stores.reader.events(tenant.id, job.spec.id, 0, 10_000).await?;
            sights.push(format!("{job:#?} {attempts:#?} {events:#?}"));
        }
        let ids: Vec<_> = jobs.iter().map(|job| job.spec.id).collect();
        sights.push(format!("{ids:?}"));
        let mut counts = String::new();
        for state in JobState::ALL {
            let filter = JobFilter { states: vec![state], ..JobFilter::default() };
            let found = stores.reader.ids(tenant.id, &filter, all, world.now).await?;
            writeln!(counts, "{state}: {found:?}")?;
        }
        let labelled =
            JobFilter { labels: [("label".to_owned(), "1".to_owned())].into(), ..JobFilter::default() };
        writeln!(counts, "{}", stores.reader.count(tenant.id, &labelled, world.now).await?)?;
        sights.push(counts);
    }
    sights.push(format!("{:#?}", stores.queues.list().await?));
    // The lag is a gauge over the lanes that are awake, and stores wake them at
    // moments of their own.
    let depths = stores.queues.depths().await?.into_iter().map(|depth| QueueDepth { lag_us: 0, ..depth });
    sights.push(format!("{:#?}", depths.collect::<Vec<_>>()));
    sights.push(format!("{:#?}", stores.jobs.leases(&world.jobs).await?));
    Ok(sights)
}

//! How many jobs can be submitted in a second.

use anyhow::{Context, Result};
use taskflow_application::World;
use taskflow_application::jobs::{Jobs, MAX_BATCH};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{BenchOptions, Enqueue, caller, wish};

/// Submits all jobs; answers jobs per second.
pub(super) async fn run(options: &BenchOptions, world: &World) -> Result<f64> {
    let jobs = Jobs::new(world.clone());
    make_tenants(options, &jobs).await?;
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for number in 0..options.callers.max(1) {
        callers.spawn(submit(options.clone(), jobs.clone(), number));
    }
    while let Some(done) = callers.join_next().await {
        done.context("a caller broke")??;
    }
    Ok(f64::from(options.jobs) / begun.elapsed().as_secs_f64())
}

/// A tenant comes into being with its first submit; that is not what is measured.
async fn make_tenants(options: &BenchOptions, jobs: &Jobs) -> Result<()> {
    for tenant in 0..options.tenants.max(1).min(options.jobs) {
        jobs.submit_batch(&caller(tenant)?, Vec::new()).await?;
    }
    Ok(())
}

/// The tenants of one caller, each with its number of jobs.
fn portions(options: &BenchOptions, number: u32) -> impl Iterator<Item = (u32, u32)> {
    let (jobs, tenants) = (options.jobs, options.tenants.max(1));
    let callers = options.callers.max(1);
    (0..tenants)
        .filter(move |tenant| tenant % callers == number || tenants < callers)
        .map(move |tenant| (tenant, jobs / tenants + u32::from(tenant < jobs % tenants)))
        .map(move |(tenant, share)| {
            // Few tenants and many callers: the callers divide each tenant's jobs.
            let mine = share / callers + u32::from(number < share % callers);
            (tenant, if tenants < callers { mine } else { share })
        })
}

async fn submit(options: BenchOptions, jobs: Jobs, number: u32) -> Result<()> {
    let wish = wish(options.payload_bytes)?;
    match options.enqueue {
        Enqueue::Batch => {
            for (tenant, mut left) in portions(&options, number) {
                let caller = caller(tenant)?;
                while left > 0 {
                    let count = left.min(MAX_BATCH as u32);
                    jobs.submit_batch(&caller, vec![wish.clone(); count as usize]).await?;
                    left -= count;
                }
            }
        }
        Enqueue::Single => {
            // Round by round, so that submits of many tenants are under way at once.
            let mut waiting: Vec<_> = portions(&options, number).filter(|(_, left)| *left > 0).collect();
            while !waiting.is_empty() {
                for (tenant, left) in &mut waiting {
                    jobs.submit(&caller(*tenant)?, wish.clone()).await?;
                    *left -= 1;
                }
                waiting.retain(|(_, left)| *left > 0);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_submitted_once() {
        for (jobs, tenants, callers) in [(1_000, 7, 3), (10, 3, 20), (1, 1, 1), (100, 100, 100), (5, 10, 2)] {
            let options = BenchOptions {
                jobs,
                tenants,
                payload_bytes: 0,
                enqueue: Enqueue::Single,
                callers,
                slots: 1,
                batch: 1,
            };
            let total: u32 = (0..callers).flat_map(|number| portions(&options, number)).map(|(_, n)| n).sum();
            assert_eq!(total, jobs);
        }
    }
}

//! Operations on one job, in every order of their statements, on PostgreSQL: each
//! order must leave behind what the checker calls right, and nothing to mend.
//!
//! Pairs run in all orders in which an operation that could go on is interrupted
//! `TASKFLOW_INTERRUPTIONS` times at most (99 is: all orders that there are); of
//! triples, as many orders as `TASKFLOW_TRIPLES` says for each.

mod acts;
mod rules;
mod stage;

use anyhow::{Result, ensure};
use taskflow_tests::process::variable;
use taskflow_tests::sim::rng::Rng;
use taskflow_tests::stepping::Orders;

use acts::Act;
use stage::{Stage, Start};

/// Orders that are tried of each triple.
const TRIPLES: usize = 15;
/// How often an operation that could go on is interrupted by the other one.
const INTERRUPTIONS: usize = 1;
/// No pair has more orders; one that had would hide what is not run.
const MOST: usize = 1_000_000;

fn number(name: &str, otherwise: usize) -> Result<usize> {
    variable(name).map_or(Ok(otherwise), |text| Ok(text.parse()?))
}

/// Every order of a pair.
async fn all_orders(stage: &mut Stage, start: Start, acts: [Act; 2]) -> Result<usize> {
    let mut orders = Orders::default();
    let mut count = 0;
    let most = number("TASKFLOW_INTERRUPTIONS", INTERRUPTIONS)?;
    while let Some(choices) = orders.next_run() {
        let outcome = stage.run(start, &acts, &choices, most).await?;
        orders.ran(&outcome);
        count += 1;
        ensure!(count <= MOST, "{start:?} {acts:?} has more than {MOST} orders");
    }
    println!("{acts:?} of a job that is {start:?}: {count} orders");
    Ok(count)
}

async fn pairs(start: Start, pairs: &[[Act; 2]]) -> Result<()> {
    let mut stage = Stage::open(2).await?;
    let mut count = 0;
    for acts in pairs {
        count += all_orders(&mut stage, start, *acts).await?;
    }
    let pairs = pairs.len();
    println!("report: orders of {pairs} pairs of operations that begin with {start:?}, all legal | {count}");
    Ok(())
}

async fn triples(start: Start, acts: [Act; 3]) -> Result<()> {
    let mut stage = Stage::open(3).await?;
    let mut rng = Rng::new(7, 3);
    let most = number("TASKFLOW_TRIPLES", TRIPLES)?;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..most {
        let choices: Vec<usize> = (0..64).map(|_| rng.between(0, 3) as usize).collect();
        seen.insert(stage.run(start, &acts, &choices, usize::MAX).await?.sessions);
    }
    println!("report: orders of {acts:?} that begin with {start:?}, all legal | {}", seen.len());
    Ok(())
}

#[tokio::test]
async fn from_pending() -> Result<()> {
    use Act::{Cancel, Claim, Move, Pause};
    let all =
        [[Claim, Claim], [Claim, Cancel], [Claim, Pause], [Claim, Move], [Cancel, Pause], [Pause, Move]];
    pairs(Start::Pending, &all).await
}

#[tokio::test]
async fn from_scheduled() -> Result<()> {
    use Act::{Cancel, Claim, Move, Pause, Promote};
    let all = [[Promote, Promote], [Promote, Claim], [Promote, Cancel], [Promote, Move], [Promote, Pause]];
    pairs(Start::Scheduled, &all).await
}

#[tokio::test]
async fn from_running() -> Result<()> {
    use Act::{Beat, Cancel, Complete, Fail, Move};
    let all = [
        [Complete, Cancel],
        [Complete, Complete],
        [Complete, Fail],
        [Fail, Cancel],
        [Complete, Beat],
        [Fail, Beat],
        [Cancel, Cancel],
        [Complete, Move],
    ];
    pairs(Start::Running, &all).await
}

#[tokio::test]
async fn from_an_expired_lease() -> Result<()> {
    use Act::{Beat, Cancel, Claim, Complete, Fail, Reap};
    let all = [
        [Complete, Reap],
        [Fail, Reap],
        [Reap, Reap],
        [Reap, Cancel],
        [Reap, Beat],
        [Reap, Claim],
        [Beat, Cancel],
    ];
    pairs(Start::Expired, &all).await
}

#[tokio::test]
async fn from_paused_and_dead() -> Result<()> {
    use Act::{Cancel, Claim, Move, Redrive, Resume};
    pairs(Start::Paused, &[[Resume, Cancel], [Resume, Move], [Resume, Resume], [Resume, Claim]]).await?;
    pairs(Start::Dead, &[[Redrive, Redrive], [Redrive, Claim]]).await
}

#[tokio::test]
async fn from_nothing_and_from_a_full_queue() -> Result<()> {
    use Act::{Claim, Complete, Submit};
    pairs(Start::Absent, &[[Submit, Submit], [Submit, Claim]]).await?;
    pairs(Start::Capped, &[[Claim, Claim], [Claim, Complete]]).await
}

#[tokio::test]
async fn from_rules() -> Result<()> {
    use Act::{Deliver, Dispatch, Fire, Switch};
    pairs(Start::Due, &[[Fire, Fire], [Fire, Switch]]).await?;
    pairs(Start::Called, &[[Deliver, Deliver]]).await?;
    pairs(Start::Told, &[[Dispatch, Dispatch]]).await?;
    triples(Start::Due, [Fire, Fire, Fire]).await
}

#[tokio::test]
async fn three_at_once() -> Result<()> {
    use Act::{Beat, Cancel, Claim, Complete, Pause, Reap};
    triples(Start::Expired, [Complete, Reap, Claim]).await?;
    triples(Start::Expired, [Beat, Reap, Cancel]).await?;
    triples(Start::Pending, [Claim, Cancel, Pause]).await?;
    triples(Start::Pending, [Claim, Claim, Claim]).await?;
    triples(Start::Capped, [Claim, Claim, Complete]).await
}

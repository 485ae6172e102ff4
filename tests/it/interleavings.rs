//! Operations on one job, in every order of their statements, on PostgreSQL: each
//! order must leave behind what the checker calls right, and nothing to mend. Of orders
//! that differ by statements alone which touch nothing in common, one is run.
//!
//! Pairs run in all orders. Of triples, and of pairs with a claim that goes its whole way
//! behind a look which might have taken all, at most `TASKFLOW_ORDERS` are run, and where
//! that is not all of them some that chance chooses besides.

mod acts;
mod rules;
mod stage;

use anyhow::{Result, ensure};
use taskflow_tests::process::variable;
use taskflow_tests::stepping::{Orders, Plan};

use acts::Act;
use stage::{Stage, Start};

/// The most orders where there may be very many.
const ORDERS: usize = 120;
/// How many by chance, where there are more.
const BY_CHANCE: u64 = 30;
/// The sessions keep what they have learned, and do the same again sooner or later.
const RESTARTS: usize = 60;

/// Orders that were run, and whether there are more.
struct Run {
    orders: usize,
    more: bool,
}

/// Every order of some operations that may differ from all others, or `most` of them.
async fn all_orders(stage: &mut Stage, start: Start, acts: &[Act], most: usize) -> Result<Run> {
    let mut orders = Orders::default();
    let mut run = Run { orders: 0, more: false };
    let mut restarts = 0;
    while let Some(plan) = orders.next_run() {
        if run.orders == most {
            run.more = true;
            break;
        }
        let outcome = stage.run(start, acts, plan).await?;
        let counts = orders.ran(&outcome) && outcome.is_new();
        run.orders += usize::from(counts);
        if orders.restarts() > restarts {
            restarts = orders.restarts();
            run.orders = 0;
            ensure!(restarts < RESTARTS, "the sessions never do the same twice");
        }
    }
    println!("{acts:?} of a job that is {start:?}: {} orders", run.orders);
    Ok(run)
}

async fn pairs(start: Start, pairs: &[[Act; 2]]) -> Result<()> {
    let mut stage = Stage::open(2).await?;
    let mut count = 0;
    for acts in pairs {
        stage.awake = true;
        count += all_orders(&mut stage, start, acts, usize::MAX).await?.orders;
        if acts.contains(&Act::Claim) {
            stage.awake = false;
            count += all_orders(&mut stage, start, acts, usize::MAX).await?.orders;
        }
    }
    let pairs = pairs.len();
    println!("report: all orders of {pairs} pairs of operations that begin with {start:?}, legal | {count}");
    Ok(())
}

/// Orders of operations that may have very many of them.
async fn many(start: Start, acts: &[Act]) -> Result<()> {
    let mut stage = Stage::open(acts.len()).await?;
    let most = variable("TASKFLOW_ORDERS").map_or(Ok(ORDERS), |text| text.parse())?;
    let run = all_orders(&mut stage, start, acts, most).await?;
    let Run { orders, more: false } = run else {
        for seed in 0..BY_CHANCE {
            stage.run(start, acts, Plan::by_chance(seed)).await?;
        }
        let count = run.orders as u64 + BY_CHANCE;
        println!("report: some orders of {acts:?} that begin with {start:?}, legal | {count}");
        return Ok(());
    };
    println!("report: all orders of {acts:?} that begin with {start:?}, legal | {orders}");
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
async fn from_under_a_limit() -> Result<()> {
    use Act::{Cancel, Claim, Move, Pause};
    for other in [Claim, Cancel, Pause, Move] {
        many(Start::Roomy, &[Claim, other]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn from_rules() -> Result<()> {
    use Act::{Deliver, Dispatch, Fire, Switch};
    pairs(Start::Due, &[[Fire, Fire], [Fire, Switch]]).await?;
    pairs(Start::Called, &[[Deliver, Deliver]]).await?;
    pairs(Start::Told, &[[Dispatch, Dispatch]]).await?;
    many(Start::Due, &[Fire, Fire, Fire]).await
}

#[tokio::test]
async fn three_at_once() -> Result<()> {
    use Act::{Beat, Cancel, Claim, Complete, Pause, Reap};
    many(Start::Capped, &[Claim, Claim, Complete]).await?;
    many(Start::Expired, &[Beat, Reap, Cancel]).await?;
    many(Start::Expired, &[Complete, Reap, Claim]).await?;
    many(Start::Pending, &[Claim, Cancel, Pause]).await?;
    many(Start::Pending, &[Claim, Claim, Claim]).await
}

//! When and how much the worker asks for.

use super::*;

#[tokio::test(start_paused = true)]
async fn claims_at_once_when_work_arrives() {
    let rig = Rig::new(config(10), Source::new(), ms(0), at_once);
    sleep(ms(250)).await;
    let arrived = Instant::now();
    rig.source.add([job(1)]);
    rig.until(|state| !state.ended.is_empty()).await;
    let settled = rig.source.state().settles[0].0;
    assert_eq!(settled, arrived, "no timer stands between the news and the commit");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn claims_again_while_there_is_more() {
    let source = Source::new();
    source.add((1..=2_500).map(job));
    let rig = Rig::new(config(5_000), source, ms(0), at_once);
    rig.until(|state| state.ended.len() == 2_500).await;
    let claims = rig.source.state().claims.clone();
    let settles = rig.source.state().settles.clone();
    let got: Vec<_> = claims.iter().map(|claim| claim.2).collect();
    assert_eq!(got[..3], [1_000, 1_000, 500]);
    assert_eq!(claims[0].0, claims[2].0, "without a pause");
    assert!(settles.iter().all(|settle| settle.1 <= 1_000));
    assert_eq!(rig.stats.snapshot().settled, 2_500);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn looks_by_itself_every_second() {
    let rig = Rig::new(config(1), Source::new(), ms(0), at_once);
    sleep(ms(5_500)).await;
    assert_eq!(rig.source.state().claims.len(), 6);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn never_runs_more_than_its_slots() {
    let source = Source::new();
    source.add((1..=10).map(job));
    let rig = Rig::new(config(3), source, ms(0), for_time(ms(100)));
    sleep(ms(50)).await;
    assert_eq!(rig.stats.snapshot().running, 3);
    assert_eq!(rig.source.state().held.len(), 3);
    rig.until(|state| state.ended.len() == 10).await;
    let elapsed = rig.began.elapsed();
    assert!(elapsed >= ms(400) && elapsed < ms(450), "{elapsed:?}");
    assert!(rig.source.state().claims.iter().all(|claim| claim.1 <= 3));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_never_waits_for_a_report() {
    let source = Source { gate: Semaphore::new(0), ..Source::new() };
    source.add((1..=8).map(job));
    let rig = Rig::new(config(4), source, ms(0), at_once);
    sleep(ms(50)).await;
    assert_eq!(rig.source.state().claims.iter().map(|claim| claim.2).sum::<usize>(), 8);
    assert_eq!(rig.stats.snapshot().unsettled, 8);
    rig.source.gate.add_permits(100);
    rig.until(|state| state.ended.len() == 8).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn reports_that_do_not_get_through_hold_back_claims() {
    let source = Source { gate: Semaphore::new(0), ..Source::new() };
    source.add((1..=100).map(job));
    let rig = Rig::new(config(4), source, ms(0), at_once);
    sleep(ms(5_000)).await;
    assert_eq!(rig.stats.snapshot().unsettled, 16, "four for each slot");
    rig.source.gate.add_permits(1_000);
    rig.until(|state| state.ended.len() == 100).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn backs_off_and_recovers_within_two_seconds() {
    let rig = Rig::new(config(1), Source::new(), ms(0), at_once);
    sleep(ms(100)).await;
    rig.source.state().down = true;
    rig.source.work.notify_one();
    sleep(ms(10_000)).await;
    let failed = rig.stats.snapshot().claim_errors;
    assert!((10..=16).contains(&failed), "{failed} tries");
    rig.source.state().down = false;
    let back = Instant::now();
    rig.source.add([job(1)]);
    rig.until(|state| !state.ended.is_empty()).await;
    assert!(back.elapsed() <= ms(2_000), "{:?}", back.elapsed());
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_claimed_before_the_first_beat() {
    let source = Source::new();
    source.add([job(1)]);
    source.state().beats_fail = true;
    let rig = Rig::new(config(1), source, ms(0), at_once);
    sleep(ms(5_000)).await;
    assert!(rig.source.state().claims.is_empty());
    rig.source.state().beats_fail = false;
    rig.until(|state| !state.ended.is_empty()).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_is_handed_back() {
    let source = Source::new();
    source.add([job(1)]);
    source.state().lose_claim = true;
    let rig = Rig::new(config(1), source, ms(0), at_once);
    rig.until(|state| !state.released.is_empty()).await;
    assert!(rig.began.elapsed() <= ms(4_500), "{:?}", rig.began.elapsed());
    assert_eq!(rig.source.state().released[0].job, id(1));
    assert_eq!(rig.stats.snapshot().released, 1);
    rig.stop().await;
}

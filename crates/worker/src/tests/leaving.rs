//! Leaving: draining, handing back, and never hanging.

use super::*;

#[tokio::test(start_paused = true)]
async fn running_work_may_end_within_the_drain() {
    let source = Source::new();
    source.add([job(1)]);
    let rig = Rig::new(config(2), source, ms(25_000), for_time(ms(5_000)));
    sleep(ms(1_000)).await;
    let source = Arc::clone(&rig.source);
    rig.source.state().queue.push_back(job(2));
    let took = rig.stop().await;
    assert_eq!(took, ms(4_000));
    assert_eq!(source.ended(1), Some(succeeded()));
    assert_eq!(source.state().queue.len(), 1, "claims stopped at once");
    let closed = source.state().closed.unwrap();
    let left = source.state().left.unwrap();
    assert!(left - closed == took, "others hear at once that it takes no more");
    let beats = source.state().beats.len();
    assert!(beats >= 3, "it beats while it drains");
    sleep(ms(10_000)).await;
    assert_eq!(source.state().beats.len(), beats, "and not after it left");
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_handed_back_when_the_drain_is_over() {
    let dropped = Arc::default();
    let source = Source::new();
    source.add([job(1), job(2)]);
    let listens = for_time(ms(60_000));
    let is_deaf = deaf(&dropped);
    let script = move |n, context| if n == 1 { listens(n, context) } else { is_deaf(n, context) };
    let rig = Rig::new(config(2), source, ms(3_000), script);
    sleep(ms(100)).await;
    let source = Arc::clone(&rig.source);
    let took = rig.stop().await;
    assert_eq!(took, ms(4_000), "the drain and one grace");
    assert_eq!(source.ended(1), Some(Verdict::Interrupted));
    assert_eq!(source.ended(2), Some(Verdict::Interrupted));
    let first = source.state().settles[0].0;
    assert!(source.state().left.unwrap() > first, "the one that listened was reported first");
    assert!(source.state().held.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_late_claim_brings_is_handed_back_unstarted() {
    let source = Source { claim_takes: ms(500), ..Source::new() };
    source.add([job(1)]);
    let rig = Rig::new(config(1), source, ms(10_000), |_, _| panic!("it was started"));
    sleep(ms(100)).await;
    let source = Arc::clone(&rig.source);
    let took = rig.stop().await;
    assert_eq!(took, ms(400));
    assert_eq!(source.ended(1), Some(Verdict::Interrupted));
}

#[tokio::test(start_paused = true)]
async fn leaves_in_time_whatever_hangs() {
    let source = Source { gate: Semaphore::new(0), claim_takes: ms(1), ..Source::new() };
    source.add([job(1), job(2)]);
    let dropped = Arc::default();
    let is_deaf = deaf(&dropped);
    let script = move |n, context| if n == 1 { at_once(n, context) } else { is_deaf(n, context) };
    let rig = Rig::new(config(2), source, ms(2_000), script);
    sleep(ms(100)).await;
    rig.source.state().down = true;
    let took = rig.stop().await;
    assert!(took <= ms(2_000 + 1_000 + 3_000), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn leaves_at_once_without_work() {
    let rig = Rig::new(config(2), Source::new(), ms(25_000), at_once);
    sleep(ms(100)).await;
    assert_eq!(rig.stop().await, ms(0));
}

#[tokio::test(start_paused = true)]
async fn leaves_although_the_source_was_never_there() {
    let source = Source::new();
    source.state().down = true;
    let rig = Rig::new(config(2), source, ms(25_000), at_once);
    sleep(ms(100)).await;
    assert_eq!(rig.stop().await, ms(0));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_heard_while_draining() {
    let source = Source::new();
    source.add([job(1)]);
    let rig = Rig::new(config(1), source, ms(25_000), for_time(ms(60_000)));
    sleep(ms(100)).await;
    rig.shutdown.cancel();
    sleep(ms(1_000)).await;
    rig.source.cancel(1);
    rig.until(|state| !state.ended.is_empty()).await;
    assert_eq!(rig.source.ended(1), Some(Verdict::Cancelled));
    rig.running.await.unwrap().unwrap();
}

//! How reports are batched, repeated and dropped.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_ends_during_a_flush_makes_the_next_one() {
    let source = Source { gate: Semaphore::new(1), ..Source::new() };
    let rig = Rig::new(config(100), source, ms(0), at_once);
    for n in 1..=20 {
        rig.source.add([job(n)]);
        sleep(ms(10)).await;
    }
    rig.source.gate.add_permits(100);
    rig.until(|state| state.ended.len() == 20).await;
    let sizes: Vec<_> = rig.source.state().settles.iter().map(|settle| settle.1).collect();
    assert_eq!(sizes, [1, 1, 18]);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lonely_report_never_waits() {
    let rig = Rig::new(config(100), Source::new(), ms(0), at_once);
    for n in 1..=5 {
        sleep(ms(100)).await;
        let now = Instant::now();
        rig.source.add([job(n)]);
        rig.until(|state| state.ended.len() == n as usize).await;
        assert_eq!(rig.source.state().settles.last().unwrap().0, now);
    }
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn under_load_flushes_are_few() {
    let source = Source { settle_takes: ms(1), ..Source::new() };
    source.add((1..=4_000).map(job));
    let rig = Rig::new(config(200), source, ms(0), |n, context| for_time(ms(5 + n as u64 % 7))(n, context));
    rig.until(|state| state.ended.len() == 4_000).await;
    let flushes = rig.source.state().settles.len();
    assert!(flushes < 400, "{flushes} flushes");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_report_is_repeated_until_it_is_committed() {
    let source = Source::new();
    source.add([job(1)]);
    let rig = Rig::new(config(1), source, ms(0), for_time(ms(100)));
    sleep(ms(50)).await;
    rig.source.state().down = true;
    sleep(ms(20_000)).await;
    rig.source.state().down = false;
    let back = Instant::now();
    rig.until(|state| !state.ended.is_empty()).await;
    assert!(back.elapsed() <= ms(1_100), "{:?}", back.elapsed());
    assert_eq!(rig.source.state().ended[0], (id(1), succeeded(), 100_000), "the same content");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_report_is_dropped_when_the_lease_is_over() {
    let source = Source::new();
    source.add([job(1)]);
    let rig = Rig::new(config(1), source, ms(0), for_time(ms(100)));
    sleep(ms(50)).await;
    rig.source.state().down = true;
    sleep(LEASE + ms(5_000)).await;
    let stats = rig.stats.snapshot();
    assert_eq!((stats.unsettled, stats.leases_lost, stats.settled), (0, 1, 0));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_counted() {
    let source = Source { gate: Semaphore::new(0), ..Source::new() };
    source.add([job(1), job(2)]);
    let rig = Rig::new(config(2), source, ms(0), at_once);
    sleep(ms(50)).await;
    rig.source.state().held.remove(&id(1));
    rig.source.gate.add_permits(10);
    rig.until(|state| !state.ended.is_empty()).await;
    let stats = rig.stats.snapshot();
    assert_eq!((stats.settled, stats.leases_lost, stats.unsettled), (1, 1, 0));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_refused_report_does_not_hold_up_the_others() {
    let source = Source::new();
    source.add((1..=1_000).map(job));
    source.state().refuse_success = Some(id(701));
    let rig = Rig::new(config(1_000), source, ms(0), at_once);
    rig.until(|state| state.ended.len() == 1_000).await;
    assert!(rig.began.elapsed() < Duration::from_secs(15), "{:?}", rig.began.elapsed());
    match rig.source.ended(701) {
        Some(Verdict::Failed { error, permanent: false, .. }) => assert_eq!(error.kind, "report_refused"),
        other => panic!("{other:?}"),
    }
    let succeeded = rig.source.state().ended.iter().filter(|ended| ended.1 == succeeded()).count();
    assert_eq!(succeeded, 999);
    assert!(rig.stats.snapshot().settle_errors < 20);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_report_that_cannot_be_committed_at_all_is_given_up() {
    let source = Source::new();
    source.add((1..=3).map(job));
    source.state().refuse = Some(id(2));
    let rig = Rig::new(config(3), source, ms(0), at_once);
    rig.until(|state| state.ended.len() == 2 && !state.released.is_empty()).await;
    assert_eq!(rig.source.state().released[0].job, id(2));
    assert_eq!(rig.stats.snapshot().unsettled, 0);
    rig.stop().await;
}

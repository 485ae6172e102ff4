//! Timeouts, cancels and panics.

use std::sync::mpsc;

use super::*;

fn with_timeout(n: u128, timeout_ms: u64) -> ClaimedJob {
    let mut job = job(n);
    job.spec.timeout_ms = timeout_ms;
    job
}

#[tokio::test(start_paused = true)]
async fn slot_time_is_measured() {
    let source = Source::new();
    source.add([job(1)]);
    let rig = Rig::new(config(1), source, ms(0), for_time(ms(70)));
    rig.until(|state| !state.ended.is_empty()).await;
    assert_eq!(rig.source.state().ended[0], (id(1), succeeded(), 70_000));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_at_its_timeout() {
    let source = Source::new();
    source.add([with_timeout(1, 200)]);
    let rig = Rig::new(config(1), source, ms(0), for_time(ms(60_000)));
    rig.until(|state| !state.ended.is_empty()).await;
    assert_eq!(rig.source.ended(1), Some(Verdict::TimedOut { after_ms: 200 }));
    assert_eq!(rig.source.state().ended[0].2, 200_000, "it listened, so there was no grace");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deaf_execution_is_dropped_after_the_grace() {
    let dropped = Arc::default();
    let source = Source::new();
    source.add([with_timeout(1, 200)]);
    let rig = Rig::new(config(1), source, ms(0), deaf(&dropped));
    rig.until(|state| !state.ended.is_empty()).await;
    assert_eq!(rig.source.ended(1), Some(Verdict::TimedOut { after_ms: 200 }));
    let at = dropped.lock().unwrap()[&1];
    assert_eq!(at - rig.began, ms(1_200));
    assert_eq!(rig.stats.snapshot().running, 0);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_success_within_the_grace_counts() {
    let source = Source::new();
    source.add([with_timeout(1, 200)]);
    let rig = Rig::new(config(1), source, ms(0), |_, context| {
        Execution::Running(
            async move {
                context.cancel.cancelled().await;
                sleep(ms(500)).await;
                succeeded()
            }
            .boxed(),
        )
    });
    rig.until(|state| !state.ended.is_empty()).await;
    assert_eq!(rig.source.ended(1), Some(succeeded()));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_sets_its_own_token_is_not_stopped() {
    let source = Source::new();
    source.add([job(1)]);
    let rig = Rig::new(config(1), source, ms(0), |_, context| {
        Execution::Running(
            async move {
                context.cancel.cancel();
                sleep(ms(500)).await;
                succeeded()
            }
            .boxed(),
        )
    });
    rig.until(|state| !state.ended.is_empty()).await;
    assert_eq!(rig.source.ended(1), Some(succeeded()));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn panics_are_failures_and_hurt_nobody_else() {
    let source = Source::new();
    source.add((1..=3).map(job));
    let rig = Rig::new(config(3), source, ms(0), |n, _| match n {
        1 => panic!("at\nonce\0"),
        2 => Execution::Running(async { panic!("{} later", 2) }.boxed()),
        _ => Execution::Done(succeeded()),
    });
    rig.until(|state| state.ended.len() == 3).await;
    let failure = |n| match rig.source.ended(n) {
        Some(Verdict::Failed { error, permanent: false, .. }) => (error.kind, error.message),
        other => panic!("{other:?}"),
    };
    assert_eq!(failure(1), ("panic".into(), "at once\u{FFFD}".into()));
    assert_eq!(failure(2), ("panic".into(), "2 later".into()));
    assert_eq!(rig.source.ended(3), Some(succeeded()));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_heard_at_once() {
    let source = Source::new();
    source.add([job(1), job(2)]);
    let rig = Rig::new(config(2), source, ms(0), for_time(ms(60_000)));
    sleep(ms(500)).await;
    let asked = Instant::now();
    rig.source.cancel(1);
    rig.until(|state| !state.ended.is_empty()).await;
    assert_eq!(rig.source.ended(1), Some(Verdict::Cancelled));
    assert_eq!(rig.source.state().settles[0].0, asked);
    assert_eq!(rig.stats.snapshot().running, 1, "the other one goes on");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_execution_that_does_not_listen_is_dropped() {
    let dropped = Arc::default();
    let source = Source::new();
    source.add([job(1)]);
    let rig = Rig::new(config(1), source, ms(0), deaf(&dropped));
    sleep(ms(500)).await;
    rig.source.cancel(1);
    rig.until(|state| !state.ended.is_empty()).await;
    assert_eq!(rig.source.ended(1), Some(Verdict::Cancelled));
    assert_eq!(dropped.lock().unwrap()[&1] - rig.began, ms(1_500));
    rig.stop().await;
}

/// On real time and real threads: a handler that blocks both of its threads stops
/// neither the heartbeats, nor its own timeout, nor work that is done at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_blocked_thread_stops_nothing_else() {
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = Arc::new(Mutex::new(blocked));
    let source = Source::new();
    source.add([with_timeout(1, 50), with_timeout(2, 50)]);
    let config = WorkerConfig { grace: ms(20), placement: Placement::OwnThreads(2), ..config(2) };
    let rig = Rig::new(config, source, ms(0), move |n, _| {
        let blocked = Arc::clone(&blocked);
        if n > 2 {
            return Execution::Done(succeeded());
        }
        Execution::Running(
            async move {
                let _ = blocked.lock().unwrap_or_else(PoisonError::into_inner).recv();
                succeeded()
            }
            .boxed(),
        )
    });
    rig.until(|state| state.ended.len() == 2).await;
    assert_eq!(rig.source.ended(1), Some(Verdict::TimedOut { after_ms: 50 }));
    rig.source.add([job(3)]);
    rig.until(|state| state.ended.len() == 3).await;
    let beats = rig.source.state().beats.len();
    rig.source.cancels.notify_one();
    rig.until(|state| state.beats.len() > beats).await;
    let took = rig.stop().await;
    assert!(took < ms(1_000), "nobody waits for the blocked threads: {took:?}");
    drop(release);
}

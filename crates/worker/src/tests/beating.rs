//! Heartbeats, lost leases, and the worker's own deadline.

use super::*;

#[tokio::test(start_paused = true)]
async fn beats_every_two_seconds() {
    let rig = Rig::new(config(1), Source::new(), ms(0), at_once);
    sleep(ms(9_000)).await;
    let beats: Vec<_> = rig.source.state().beats.iter().map(|beat| *beat - rig.began).collect();
    assert_eq!(beats, [ms(0), ms(2_000), ms(4_000), ms(6_000), ms(8_000)]);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_cancels_make_few_beats() {
    let rig = Rig::new(config(1), Source::new(), ms(0), at_once);
    for _ in 0..1_000 {
        rig.source.cancels.notify_one();
        sleep(ms(1)).await;
    }
    let beats = rig.source.state().beats.len();
    assert!((15..=22).contains(&beats), "{beats} beats in a second");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_no_longer_listed_is_stopped_without_grace_or_report() {
    let dropped = Arc::default();
    let source = Source::new();
    source.add([job(1), job(2)]);
    let rig = Rig::new(config(2), source, ms(0), deaf(&dropped));
    sleep(ms(500)).await;
    rig.source.state().held.remove(&id(1));
    rig.until(|_| dropped.lock().unwrap().contains_key(&1)).await;
    assert_eq!(dropped.lock().unwrap()[&1] - rig.began, ms(2_000));
    sleep(ms(5_000)).await;
    assert!(rig.source.state().ended.is_empty());
    let stats = rig.stats.snapshot();
    assert_eq!((stats.running, stats.leases_lost), (1, 1));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_claimed_while_a_beat_is_under_way_is_not_lost() {
    let source = Source { claim_takes: ms(700), ..Source::new() };
    let rig = Rig::new(config(5), source, ms(0), for_time(ms(300)));
    for n in 1..=20 {
        rig.source.add([job(n)]);
        sleep(ms(333)).await;
    }
    rig.until(|state| state.ended.len() == 20).await;
    let stats = rig.stats.snapshot();
    assert_eq!((stats.leases_lost, stats.released), (0, 0));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_beat_for_one_lease_everything_stops() {
    let dropped = Arc::default();
    let source = Source::new();
    source.add([job(1), job(2)]);
    let rig = Rig::new(config(2), source, ms(0), deaf(&dropped));
    sleep(ms(3_000)).await;
    rig.source.state().beats_fail = true;
    rig.until(|_| dropped.lock().unwrap().len() == 2).await;
    // The last good beat was sent two seconds after the start.
    assert_eq!(dropped.lock().unwrap()[&1] - rig.began, ms(2_000) + LEASE);
    assert_eq!(rig.stats.snapshot().leases_lost, 2);
    let claims = rig.source.state().claims.len();
    rig.source.add([job(3)]);
    sleep(ms(5_000)).await;
    assert_eq!(rig.source.state().claims.len(), claims, "no claim without a lease");
    rig.source.state().beats_fail = false;
    rig.until(|state| state.held.contains_key(&id(3))).await;
    rig.until(|state| state.released.len() == 2).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_beat_that_hangs_counts_as_none() {
    struct Hanging(Source);
    #[async_trait]
    impl LeaseSource for Hanging {
        async fn claim(&self, max: u32) -> Result<Claimed, SourceError> {
            self.0.claim(max).await
        }
        async fn settle(&self, finished: &[Finished]) -> Result<Vec<Settled>, SourceError> {
            self.0.settle(finished).await
        }
        async fn beat(&self) -> Result<Vec<Held>, SourceError> {
            if self.0.state().beats.is_empty() { self.0.beat().await } else { std::future::pending().await }
        }
        async fn release(&self, held: &[Held]) -> Result<(), SourceError> {
            self.0.release(held).await
        }
        async fn work_arrives(&self, longest: Duration) {
            self.0.work_arrives(longest).await;
        }
        async fn cancel_arrives(&self) {
            self.0.cancel_arrives().await;
        }
        fn close(&self) {
            self.0.close();
        }
        async fn leave(&self) {
            self.0.leave().await;
        }
        fn lease(&self) -> Duration {
            self.0.lease()
        }
    }
    let dropped: Arc<Mutex<HashMap<u128, Instant>>> = Arc::default();
    let source = Source::new();
    source.add([job(1)]);
    let began = Instant::now();
    let shutdown = CancellationToken::new();
    let executor = Arc::new(Scripted(Box::new(deaf(&dropped))));
    let run = Worker::new(config(1)).run(Arc::new(Hanging(source)), executor, shutdown.clone(), ms(0));
    let running = tokio::spawn(run);
    sleep(LEASE + ms(100)).await;
    assert_eq!(dropped.lock().unwrap()[&1] - began, LEASE);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

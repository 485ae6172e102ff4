//! The port of statistics, on the state.

use std::collections::BTreeMap;

use async_trait::async_trait;
use taskflow_domain::{QueueName, TenantId, TenantSlug, Timestamp};

use super::MemoryStore;
use super::state::State;
use crate::ports::{Bucket, Recent, RunnerStatus, SeriesWish, Span, StatStore, StoreResult};
use crate::tally::{Batch, Counts, Durations, Subject};

/// What statistics and runners have told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// By the length of the bucket in seconds.
    counts: BTreeMap<(i32, Subject), Counts>,
    durations: BTreeMap<(Timestamp, QueueName), Durations>,
    runners: BTreeMap<String, RunnerStatus>,
}

impl Told {
    fn add(&mut self, batch: &Batch, queues: impl Fn(&QueueName) -> bool) {
        for (subject, counts) in batch.counts.iter().filter(|(subject, _)| queues(&subject.queue)) {
            for span in [Span::Minute, Span::Hour] {
                let subject = Subject { minute: span.floor(subject.minute), ..subject.clone() };
                self.counts.entry((span.seconds(), subject)).or_default().add(counts);
            }
        }
        for (key, durations) in batch.durations.iter().filter(|((_, queue), _)| queues(queue)) {
            merge(self.durations.entry(key.clone()).or_default(), durations);
        }
    }

    fn series(&self, wish: &SeriesWish, slug: impl Fn(TenantId) -> Option<TenantSlug>) -> Vec<Bucket> {
        let mut sums: BTreeMap<_, Counts> = BTreeMap::new();
        for ((span, subject), counts) in &self.counts {
            let meant = *span == wish.span.seconds()
                && (wish.since..wish.until).contains(&subject.minute)
                && wish.tenant.is_none_or(|tenant| tenant == subject.tenant)
                && wish.queue.as_ref().is_none_or(|queue| *queue == subject.queue)
                && wish.kind.as_ref().is_none_or(|kind| *kind == subject.kind);
            if meant {
                let key = (
                    std::cmp::Reverse(subject.minute),
                    wish.by_tenant.then(|| slug(subject.tenant)).flatten(),
                    wish.by_queue.then(|| subject.queue.clone()),
                    wish.by_kind.then(|| subject.kind.clone()),
                );
                sums.entry(key).or_default().add(counts);
            }
        }
        let bucket = |((at, tenant, queue, kind), counts): (_, Counts)| {
            let std::cmp::Reverse(at) = at;
            Bucket { at, tenant, queue, kind, counts }
        };
        sums.into_iter().take(wish.limit as usize).map(bucket).collect()
    }
}

fn merge(into: &mut Durations, from: &Durations) {
    from.wait.bins().for_each(|(bin, n)| into.wait.add(bin, n));
    from.run.bins().for_each(|(bin, n)| into.run.add(bin, n));
}

impl State {
    fn recent(&self, since: Timestamp) -> BTreeMap<QueueName, Recent> {
        let mut recent: BTreeMap<QueueName, Recent> = BTreeMap::new();
        for ((span, subject), counts) in &self.told.counts {
            if *span == Span::Minute.seconds() && subject.minute >= since {
                recent.entry(subject.queue.clone()).or_default().counts.add(counts);
            }
        }
        for ((minute, queue), durations) in &self.told.durations {
            if *minute >= since {
                merge(&mut recent.entry(queue.clone()).or_default().durations, durations);
            }
        }
        recent
    }
}

#[async_trait]
impl StatStore for MemoryStore {
    async fn add(&self, batch: &Batch) -> StoreResult<()> {
        let mut state = self.state();
        let mut told = std::mem::take(&mut state.told);
        told.add(batch, |queue| state.queues.contains_key(queue));
        state.told = told;
        Ok(())
    }

    async fn recent(&self, since: Timestamp) -> StoreResult<Vec<(QueueName, Recent)>> {
        Ok(self.state().recent(since).into_iter().collect())
    }

    async fn series(&self, wish: &SeriesWish) -> StoreResult<Vec<Bucket>> {
        let state = self.state();
        let slug = |id: TenantId| state.tenants.get(&id).map(|tenant| tenant.slug.clone());
        Ok(state.told.series(wish, slug))
    }

    async fn forget(&self, minutes: Timestamp, hours: Timestamp, runners: Timestamp) -> StoreResult<u64> {
        let mut state = self.state();
        let told = &mut state.told;
        let before = told.counts.len();
        told.counts.retain(|(span, subject), _| {
            let oldest = if *span == Span::Minute.seconds() { minutes } else { hours };
            subject.minute >= oldest
        });
        told.durations.retain(|(minute, _), _| *minute >= minutes);
        told.runners.retain(|_, runner| runner.seen_at >= runners);
        Ok((before - told.counts.len()) as u64)
    }

    async fn tell(&self, runner: &RunnerStatus) -> StoreResult<()> {
        self.state().told.runners.insert(runner.name.clone(), runner.clone());
        Ok(())
    }

    async fn leave(&self, runner: &str) -> StoreResult<()> {
        self.state().told.runners.remove(runner);
        Ok(())
    }

    async fn runners(&self) -> StoreResult<Vec<RunnerStatus>> {
        Ok(self.state().told.runners.values().cloned().collect())
    }
}

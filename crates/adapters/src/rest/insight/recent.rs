//! What queues did in the last minutes.

use std::collections::BTreeMap;

use taskflow_application::ports::Recent;
use taskflow_domain::QueueName;
use taskflow_domain::spread::Spread;
use taskflow_protocol as wire;

use super::super::ApiState;
use super::super::problem::Problem;

/// What each queue did lately.
pub(in super::super) struct RecentFigures {
    seconds: f64,
    queues: BTreeMap<QueueName, Recent>,
}

/// What each queue did lately: a read whose cost depends on what happened in the
/// last minutes, and not on the history.
pub(in super::super) async fn recent(state: &ApiState) -> Result<RecentFigures, Problem> {
    let (queues, seconds) = state.insight.recent().await?;
    Ok(RecentFigures { seconds, queues: queues.into_iter().collect() })
}

fn percentiles(spread: &Spread) -> wire::Percentiles {
    let ms = |share| spread.percentile(share).map(|micros| micros as f64 / 1e3);
    wire::Percentiles { p50: ms(0.5), p95: ms(0.95), p99: ms(0.99) }
}

impl RecentFigures {
    /// Those of one queue.
    pub(in super::super) fn of(&self, queue: &QueueName) -> wire::QueueRecent {
        let Some(Recent { counts, durations }) = self.queues.get(queue) else {
            return wire::QueueRecent { seconds: self.seconds, ..wire::QueueRecent::default() };
        };
        wire::QueueRecent {
            seconds: self.seconds,
            throughput_per_s: counts.ended() as f64 / self.seconds.max(1.0),
            success_rate: counts.success_rate(),
            created: counts.created,
            ended: counts.ended(),
            retried: counts.retried,
            wait_ms: percentiles(&durations.wait),
            run_ms: percentiles(&durations.run),
        }
    }
}

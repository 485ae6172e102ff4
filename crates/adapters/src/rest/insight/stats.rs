//! What happened over time.

use axum::extract::State;
use taskflow_application::ports::{Bucket, SeriesWish, Span};
use taskflow_domain::{Kind, QueueName, TenantSlug, Timestamp};
use taskflow_protocol::{self as wire, Time};

use super::super::ApiState;
use super::super::describe::ListProblems;
use super::super::extract::{Answer, Asker, Operator, detached};
use super::super::page::{List, Place, Wanted};
use super::super::problem::Problem;
use super::super::query::Query;
use super::params::StatParams;

/// A place in a series: so many buckets behind its beginning. The stretch of time
/// goes with it, since what is usual moves on with the clock.
#[derive(Clone, Copy)]
struct Behind {
    since: Timestamp,
    until: Timestamp,
    buckets: u32,
}

impl Place for Behind {
    fn to_bytes(&self) -> Vec<u8> {
        let (since, until) = (self.since.micros().to_be_bytes(), self.until.micros().to_be_bytes());
        [since.as_slice(), &until, &self.buckets.to_be_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (since, rest) = bytes.split_first_chunk()?;
        let (until, rest) = rest.split_first_chunk()?;
        let time = |bytes: [u8; 8]| Timestamp::from_micros(i64::from_be_bytes(bytes));
        let buckets = u32::from_be_bytes(rest.try_into().ok()?);
        Some(Self { since: time(*since), until: time(*until), buckets })
    }
}

/// Which page of which series.
struct Wish {
    series: SeriesWish,
    tenant: Option<TenantSlug>,
    list: List,
    behind: Behind,
    limit: u32,
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse_rfc3339(text).ok_or("must be an RFC 3339 time")
}

fn read(query: &mut Query, now: Timestamp) -> Wish {
    let span = query.one("span", |text| match text {
        "minute" => Ok(Span::Minute),
        "hour" => Ok(Span::Hour),
        _ => Err("must be minute or hour"),
    });
    let span = span.unwrap_or(Span::Minute);
    // An hour of minutes, or a day of hours.
    let usual_ms = if span == Span::Minute { -3_600_000 } else { -24 * 3_600_000 };
    let (since, until) = (query.one("since", time), query.one("until", time));
    if since.zip(until).is_some_and(|(since, until)| since > until) {
        query.fault("since", "must not be later than until");
    }
    let tenant = query.one("tenant", TenantSlug::new);
    let queue = query.one("queue", QueueName::new);
    let kind = query.one("kind", Kind::new);
    let by = query.many("by");
    if by.iter().any(|by| !["tenant", "queue", "kind"].contains(&by.as_str())) {
        query.fault("by", "must be tenant, queue or kind");
    }
    let has = |name: &str| by.iter().any(|by| by == name);
    let filter = (span, since, until, &tenant, &queue, &kind, ["tenant", "queue", "kind"].map(has));
    let list = List::new("stats", &filter);
    let Wanted { after, limit } = Wanted::read(query, &list);
    let behind = after.unwrap_or_else(|| Behind {
        // The usual stretch ends where the wish does, and now at the latest.
        since: span.floor(since.unwrap_or_else(|| until.unwrap_or(now).min(now).plus_millis(usual_ms))),
        // What begins while pages are read would move the others.
        until: until.unwrap_or(Timestamp::MAX).min(now.plus_micros(1)),
        buckets: 0,
    });
    let series = SeriesWish {
        span,
        since: behind.since,
        until: behind.until,
        tenant: None,
        queue,
        kind,
        by_tenant: has("tenant"),
        by_queue: has("queue"),
        by_kind: has("kind"),
        limit: behind.buckets.saturating_add(limit).saturating_add(1),
    };
    Wish { series, tenant, list, behind, limit }
}

fn bucket(bucket: &Bucket) -> wire::StatBucket {
    let counts = &bucket.counts;
    let mean = |sum_us: u64, n: u64| (n > 0).then(|| sum_us as f64 / n as f64 / 1e3);
    wire::StatBucket {
        at: Time(bucket.at),
        tenant: bucket.tenant.as_ref().map(|slug| slug.as_str().to_owned()),
        queue: bucket.queue.as_ref().map(|queue| queue.as_str().to_owned()),
        kind: bucket.kind.as_ref().map(|kind| kind.as_str().to_owned()),
        created: counts.created,
        started: counts.started,
        succeeded: counts.succeeded,
        failed: counts.failed,
        dead: counts.dead,
        cancelled: counts.cancelled,
        retried: counts.retried,
        mean_wait_ms: mean(counts.wait_us, counts.started),
        mean_run_ms: mean(counts.run_us, counts.ran()),
    }
}

/// Read what happened over time
///
/// Sums by minute (kept for three hours) or by hour (kept for 31 days), the latest
/// first. They are counted as work happens and written every two seconds; a
/// process that is killed loses what it had not written.
#[utoipa::path(
    get,
    path = "/v1/admin/stats",
    operation_id = "readStats",
    tag = "operations",
    security(("key" = ["operator"])),
    params(StatParams),
    responses((status = 200, description = "The sums.", body = wire::StatSeries), ListProblems)
)]
pub(super) async fn read_stats(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    mut query: Query,
) -> Result<Answer<wire::StatSeries>, Problem> {
    let Wish { series, tenant, list, behind, limit } = read(&mut query, state.insight.now());
    query.close()?;
    let span_seconds = series.span.seconds().unsigned_abs();
    let found = detached(async move { state.insight.series(series, tenant.as_ref()).await }).await??;
    let mut rest = found.iter().skip(behind.buckets as usize);
    let items: Vec<_> = rest.by_ref().take(limit as usize).map(bucket).collect();
    let next = Behind { buckets: behind.buckets.saturating_add(limit), ..behind };
    let next_cursor = rest.next().map(|_| list.cursor(&next));
    Ok(Answer(wire::StatSeries { span_seconds, items, next_cursor }))
}

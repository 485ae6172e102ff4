//! What happened over time.

use axum::extract::State;
use taskflow_application::ports::{Bucket, SeriesWish, Span};
use taskflow_domain::{Kind, QueueName, TenantSlug, Timestamp};
use taskflow_protocol::{self as wire, Time};

use super::super::ApiState;
use super::super::describe::ListProblems;
use super::super::extract::{Answer, Asker, Operator, detached};
use super::super::problem::Problem;
use super::super::query::Query;
use super::params::StatParams;

/// Buckets in one answer if nobody says.
const DEFAULT_LIMIT: u32 = 1_000;
/// Buckets in one answer at most.
const MAX_LIMIT: u32 = 10_000;

struct Wish {
    series: SeriesWish,
    tenant: Option<TenantSlug>,
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
    let since = query.one("since", time).unwrap_or_else(|| now.plus_millis(usual_ms));
    let until = query.one("until", time).unwrap_or(Timestamp::MAX);
    let tenant = query.one("tenant", TenantSlug::new);
    let queue = query.one("queue", QueueName::new);
    let kind = query.one("kind", Kind::new);
    let limit = query.one("limit", |text| {
        let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.ok_or("must be a whole number from 1 to 10000")
    });
    let by = query.many("by");
    if by.iter().any(|by| !["tenant", "queue", "kind"].contains(&by.as_str())) {
        query.fault("by", "must be tenant, queue or kind");
    }
    let has = |name: &str| by.iter().any(|by| by == name);
    let series = SeriesWish {
        span,
        since: span.floor(since),
        until,
        tenant: None,
        queue,
        kind,
        by_tenant: has("tenant"),
        by_queue: has("queue"),
        by_kind: has("kind"),
        limit: limit.unwrap_or(DEFAULT_LIMIT),
    };
    Wish { series, tenant }
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
        mean_run_ms: mean(counts.run_us, counts.ended() + counts.retried),
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
    let Wish { series, tenant } = read(&mut query, state.insight.now());
    query.close()?;
    let span_seconds = series.span.seconds().unsigned_abs();
    let found = detached(async move { state.insight.series(series, tenant.as_ref()).await }).await??;
    Ok(Answer(wire::StatSeries { span_seconds, items: found.iter().map(bucket).collect() }))
}

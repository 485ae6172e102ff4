//! Claiming: due jobs become RUNNING, in fair order and under every limit.
//!
//! A claim looks first, on a reading connection, whether any queue has work and
//! room; an idle engine so never takes the write lock. The unit of work then
//! goes in rounds: the lanes with the least virtual time share what is left of
//! the wish, each gives its first jobs, and what that changed is written before
//! the next round looks. One round fills the wish unless the lanes are short.

mod apply;
mod lanes;
mod pick;
mod queues;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::{Claim, ClaimRequest, Route, StoreResult};
use taskflow_domain::{ClaimedJob, Timestamp};

use self::queues::OpenQueue;
use super::super::error::Fault;
use super::Shared;
use super::names;

/// A round is a handful of statements, so many short lanes must not make a
/// claim hold the write lock for long.
const MOST_ROUNDS: u32 = 8;

/// A claim with ids in place of names.
#[derive(Clone, Debug)]
struct Wish {
    request: ClaimRequest,
    /// Routes as a JSON array.
    routes: String,
    /// Queues as a JSON array; `None` for all.
    queues: Option<String>,
}

/// Who claims.
#[derive(Clone, Copy, Debug)]
struct Holder {
    id: i32,
    lease_until: Timestamp,
}

pub(super) async fn claim(shared: &Arc<Shared>, request: &ClaimRequest) -> StoreResult<Claim> {
    Ok(match prepare(shared, request).await? {
        Some((wish, open)) if request.max > 0 => {
            let ids: Vec<i32> = open.queues.iter().map(|queue| queue.id).collect();
            let unit = Arc::clone(shared);
            let mut claim = shared
                .writer
                .run(move |tx| Box::pin(async move { claim_rounds(tx, &unit, &wish, &ids).await }))
                .await?;
            claim.more |= open.more;
            claim
        }
        _ => Claim::default(),
    })
}

/// What is wished, in ids, and the queues that have work and room; `None` if
/// there is nothing to be had.
async fn prepare(shared: &Shared, request: &ClaimRequest) -> Result<Option<(Wish, queues::Open)>, Fault> {
    let mut reader = shared.readers.acquire().await?;
    let routes = match &request.route {
        Route::Engine => vec![0],
        Route::Kinds(kinds) => names::kind_ids(&mut reader, &shared.catalog, kinds).await?,
    };
    let queues = names::queue_ids(&mut reader, &shared.catalog, &request.queues).await?;
    if routes.is_empty() || (queues.is_empty() && !request.queues.is_empty()) {
        return Ok(None);
    }
    let wish = Wish {
        request: request.clone(),
        routes: super::record::batch(&routes)?,
        queues: if queues.is_empty() { None } else { Some(super::record::batch(&queues)?) },
    };
    let open = queues::open(&mut reader, &wish, shared.turn.load(Ordering::Relaxed)).await?;
    if open.queues.is_empty() {
        if let Some(last) = open.last {
            shared.turn.store(last, Ordering::Relaxed);
        }
        return Ok(None);
    }
    Ok(Some((wish, open)))
}

async fn claim_rounds(
    tx: &mut SqliteConnection,
    shared: &Shared,
    wish: &Wish,
    ids: &[i32],
) -> Result<Claim, Fault> {
    let mut claim = Claim::default();
    let mut open = queues::again(tx, ids, wish.request.now).await?;
    let mut left = wish.request.max;
    let mut holder = None;
    for round in 1.. {
        open.retain(|queue| queue.room > 0);
        if left == 0 || open.is_empty() {
            break;
        }
        if round > MOST_ROUNDS {
            claim.more = true;
            break;
        }
        let Some(plan) = lanes::plan(tx, wish, &mut open, left).await? else { break };
        let found = pick::pick(tx, &plan.lanes).await?;
        let holder = match holder {
            Some(holder) => holder,
            None => *holder.insert(hold(tx, wish).await?),
        };
        let jobs = apply::apply(tx, shared, wish, holder, &mut open, &plan, found).await?;
        if let Some(last) = plan.last {
            shared.turn.store(last, Ordering::Relaxed);
        }
        left = left.saturating_sub(u32::try_from(jobs.len()).unwrap_or(u32::MAX));
        claim.jobs.extend(jobs);
    }
    claim.more |= left == 0;
    Ok(claim)
}

/// The worker that claims. One that was never heard of becomes known, with a
/// lease that ends now.
async fn hold(tx: &mut SqliteConnection, wish: &Wish) -> Result<Holder, Fault> {
    let request = &wish.request;
    let kinds = match &request.route {
        Route::Engine => String::from("[]"),
        Route::Kinds(kinds) => super::super::entity::worker::names_to_text(kinds),
    };
    let row = sqlx::query(HOLD)
        .bind(request.worker.as_str().to_owned())
        .bind(request.tenant.map(|tenant| tenant.0))
        .bind(super::super::entity::worker::names_to_text(&request.queues))
        .bind(kinds)
        .bind(request.now.micros())
        .fetch_one(tx)
        .await?;
    Ok(Holder { id: row.try_get(0)?, lease_until: Timestamp::from_micros(row.try_get(1)?) })
}

/// A known worker is only read back: the update changes nothing of it, but that
/// attempts refer to it from now on. Names are each tenant's own, so that nobody
/// claims in the name of somebody else's worker.
const HOLD: &str = "insert into worker \
      (name, tenant_id, queues, kinds, slots, known, used, started_at, beat_at, lease_until) \
    values (?1, ?2, ?3, ?4, 0, 1, 1, ?5, ?5, ?5) \
    on conflict (coalesce(tenant_id, 0), name) do update set \
      lease_until = case when known then lease_until else excluded.lease_until end, \
      beat_at = case when known then beat_at else excluded.beat_at end, \
      known = 1, \
      used = 1 \
    returning id, lease_until";

/// The lanes of a round with what each may start.
struct Plan {
    lanes: Vec<lanes::Candidate>,
    /// The last queue that had its turn.
    last: Option<i32>,
}

type Jobs = Vec<ClaimedJob>;
type Queues = Vec<OpenQueue>;

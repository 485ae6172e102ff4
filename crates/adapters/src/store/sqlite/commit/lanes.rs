//! What the end of an attempt means for its lane: the rest of the charge, and
//! the room under the limits.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteConnection;
use taskflow_domain::{JobChange, fair};

use super::super::super::error::Fault;
use super::super::limits;
use super::super::record::batch;
use super::found::Place;

/// Sums over the attempts that end in one commit.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    charges: BTreeMap<i32, i64>,
    costs: BTreeMap<(i32, i32), i64>,
    slots: BTreeMap<i32, i64>,
    queues: BTreeMap<i32, i64>,
}

impl Lanes {
    /// Adds the end of the attempt that ran in `place`.
    pub(super) fn ended(&mut self, change: &JobChange, place: &Place) {
        let Some(held) = &place.lease else { return };
        for slot in held.slots.into_iter().flatten() {
            *self.slots.entry(slot).or_default() -= 1;
        }
        if held.counted {
            *self.queues.entry(place.queue_id).or_default() -= 1;
        }
        if change.settle_us != 0 {
            let weight = held.weight;
            let charge = if change.settle_us > 0 {
                fair::charge_us(change.settle_us, weight)
            } else {
                -fair::charge_us(-change.settle_us, weight)
            };
            *self.charges.entry(place.lane_id).or_default() += charge;
            let known = held.cost_us.unwrap_or(fair::UNKNOWN_COST_US);
            let cost = self.costs.entry((change.tenant.0, place.kind_id)).or_insert(known);
            *cost = fair::average_us(*cost, held.charged_us.saturating_add(change.settle_us));
        }
    }

    pub(super) async fn flush(self, tx: &mut SqliteConnection) -> Result<(), Fault> {
        if !self.charges.is_empty() {
            let charges: Vec<_> = self.charges.into_iter().collect();
            sqlx::query(CHARGE).bind(batch(&charges)?).execute(&mut *tx).await?;
        }
        if !self.costs.is_empty() {
            let costs: Vec<_> =
                self.costs.into_iter().map(|((tenant, kind), cost)| (tenant, kind, cost)).collect();
            sqlx::query(COST).bind(batch(&costs)?).execute(&mut *tx).await?;
        }
        if !self.queues.is_empty() {
            let queues: Vec<_> = self.queues.into_iter().collect();
            sqlx::query(QUEUES).bind(batch(&queues)?).execute(&mut *tx).await?;
        }
        if !self.slots.is_empty() {
            limits::count(tx, &self.slots).await?;
            let freed: BTreeSet<i32> = self.slots.into_keys().collect();
            limits::unblock(tx, &freed).await?;
        }
        Ok(())
    }
}

const CHARGE: &str = "update lane set virtual_us = virtual_us + (e.value->>'$[1]') \
    from jsonb_each(?1) e where lane.id = e.value->>'$[0]'";

const COST: &str = "insert into kind_cost (tenant_id, kind_id, cost_us) \
    select e.value->>'$[0]', e.value->>'$[1]', e.value->>'$[2]' from jsonb_each(?1) e where true \
    on conflict (tenant_id, kind_id) do update set cost_us = excluded.cost_us";

const QUEUES: &str = "update queue set running = running + (e.value->>'$[1]') \
    from jsonb_each(?1) e where queue.id = e.value->>'$[0]'";

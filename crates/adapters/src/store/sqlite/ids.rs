//! Ids of the queues, kinds and lanes that jobs name; what is missing is made.

use std::collections::{BTreeSet, HashMap};

use sqlx::{Row as _, SqliteConnection};
use taskflow_application::ports::StoreError;
use taskflow_domain::{JobSpec, Kind, QueueName, fair};

use super::super::error::Fault;
use super::super::names::{Catalog, LaneKey};
use super::record::batch;

/// Ids that a unit of work read or made. Another unit may rely on them only
/// once this one is committed.
#[derive(Debug, Default)]
pub(super) struct Found {
    queues: HashMap<QueueName, i32>,
    kinds: HashMap<Kind, i32>,
    lanes: HashMap<LaneKey, i32>,
}

/// The ids that belong to one job.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobIds {
    pub(super) queue: i32,
    pub(super) kind: i32,
    pub(super) lane: i32,
}

impl Found {
    /// Keeps the ids for later units of work. Call it after the commit.
    pub(super) fn remember(self, catalog: &Catalog) {
        for (name, id) in self.queues {
            catalog.queues.remember(id, name);
        }
        for (name, id) in self.kinds {
            catalog.kinds.remember(id, name);
        }
        if !self.lanes.is_empty() {
            catalog.remember_lanes(self.lanes);
        }
    }

    /// The ids of these jobs, in their order.
    pub(super) async fn resolve(
        &mut self,
        tx: &mut SqliteConnection,
        catalog: &Catalog,
        specs: &[&JobSpec],
    ) -> Result<Vec<JobIds>, Fault> {
        self.queues(tx, catalog, specs).await?;
        self.kinds(tx, catalog, specs).await?;
        let mut named = Vec::with_capacity(specs.len());
        for spec in specs {
            let queue_id = self.queues.get(&spec.queue).copied().or_else(|| catalog.queues.id(&spec.queue));
            let kind_id = self.kinds.get(&spec.kind).copied().or_else(|| catalog.kinds.id(&spec.kind));
            let (Some(queue_id), Some(kind_id)) = (queue_id, kind_id) else {
                return Err(StoreError::Rejected("a queue or kind could not be made".into()).into());
            };
            let route = if spec.target.is_some() { 0 } else { kind_id };
            named.push((kind_id, (spec.tenant.0, queue_id, route)));
        }
        let keys: Vec<LaneKey> = named.iter().map(|(_, key)| *key).collect();
        let lanes = self.lanes(tx, catalog, &keys).await?;
        Ok(named
            .into_iter()
            .zip(lanes)
            .map(|((kind, (_, queue, _)), lane)| JobIds { queue, kind, lane })
            .collect())
    }

    async fn queues(
        &mut self,
        tx: &mut SqliteConnection,
        catalog: &Catalog,
        specs: &[&JobSpec],
    ) -> Result<(), Fault> {
        let missing: BTreeSet<&QueueName> =
            specs.iter().map(|spec| &spec.queue).filter(|name| catalog.queues.id(name).is_none()).collect();
        let names: Vec<&str> = missing.iter().map(|name| name.as_str()).collect();
        let ids = make(tx, MAKE_QUEUES, QUEUES, &names).await?;
        self.queues
            .extend(missing.into_iter().filter_map(|name| Some((name.clone(), *ids.get(name.as_str())?))));
        Ok(())
    }

    async fn kinds(
        &mut self,
        tx: &mut SqliteConnection,
        catalog: &Catalog,
        specs: &[&JobSpec],
    ) -> Result<(), Fault> {
        let missing: BTreeSet<&Kind> =
            specs.iter().map(|spec| &spec.kind).filter(|name| catalog.kinds.id(name).is_none()).collect();
        let names: Vec<&str> = missing.iter().map(|name| name.as_str()).collect();
        let ids = make(tx, MAKE_KINDS, KINDS, &names).await?;
        self.kinds
            .extend(missing.into_iter().filter_map(|name| Some((name.clone(), *ids.get(name.as_str())?))));
        Ok(())
    }

    async fn lanes(
        &mut self,
        tx: &mut SqliteConnection,
        catalog: &Catalog,
        keys: &[LaneKey],
    ) -> Result<Vec<i32>, Fault> {
        let known = catalog.lanes(keys);
        let missing: BTreeSet<LaneKey> =
            keys.iter().zip(&known).filter(|(_, id)| id.is_none()).map(|(key, _)| *key).collect();
        if !missing.is_empty() {
            let missing: Vec<_> = missing.into_iter().collect();
            let text = batch(&missing)?;
            sqlx::query(MAKE_SLOTS).bind(text.clone()).execute(&mut *tx).await?;
            sqlx::query(MAKE_LANES).bind(text.clone()).bind(fair::UNKNOWN_COST_US).execute(&mut *tx).await?;
            for row in sqlx::query(LANES).bind(text).fetch_all(&mut *tx).await? {
                self.lanes.insert((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?), row.try_get(3)?);
            }
        }
        keys.iter()
            .zip(known)
            .map(|(key, known)| {
                known.or_else(|| self.lanes.get(key).copied()).ok_or_else(|| {
                    StoreError::Rejected(format!("there is no tenant with the id {}", key.0)).into()
                })
            })
            .collect()
    }
}

async fn make(
    tx: &mut SqliteConnection,
    insert: &'static str,
    select: &'static str,
    names: &[&str],
) -> Result<HashMap<String, i32>, Fault> {
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let text = batch(names)?;
    sqlx::query(insert).bind(text.clone()).execute(&mut *tx).await?;
    let rows = sqlx::query(select).bind(text).fetch_all(&mut *tx).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

const MAKE_QUEUES: &str =
    "insert into queue (name) select value from jsonb_each(?1) where true on conflict do nothing";
const QUEUES: &str = "select q.name, q.id from jsonb_each(?1) e cross join queue q on q.name = e.value";
const MAKE_KINDS: &str =
    "insert into kind (name) select value from jsonb_each(?1) where true on conflict do nothing";
const KINDS: &str = "select k.name, k.id from jsonb_each(?1) e cross join kind k on k.name = e.value";

/// The slots of tenants in queues that limit each tenant.
const MAKE_SLOTS: &str = "insert into limit_slot (tenant_id, queue_id, max_running) \
    select distinct e.value->>'$[0]', q.id, q.max_running_per_tenant \
    from jsonb_each(?1) e cross join queue q on q.id = e.value->>'$[1]' \
    where q.max_running_per_tenant is not null on conflict do nothing";

const MAKE_LANES: &str = "insert into lane \
      (tenant_id, queue_id, route, weight, cost_us, paused, tenant_slot, queue_slot, blocked) \
    select t.id, e.value->>'$[1]', e.value->>'$[2]', t.weight, ?2, t.paused, ts.id, qs.id, \
      coalesce(ts.running >= ts.max_running, 0) or coalesce(qs.running >= qs.max_running, 0) \
    from jsonb_each(?1) e cross join tenant t on t.id = e.value->>'$[0]' \
    left join limit_slot ts on ts.tenant_id = t.id and coalesce(ts.queue_id, 0) = 0 \
    left join limit_slot qs on qs.tenant_id = t.id and coalesce(qs.queue_id, 0) = e.value->>'$[1]' \
    where true on conflict do nothing";

const LANES: &str = "select l.tenant_id, l.queue_id, l.route, l.id \
    from jsonb_each(?1) e cross join lane l \
    on l.tenant_id = e.value->>'$[0]' and l.queue_id = e.value->>'$[1]' and l.route = e.value->>'$[2]'";

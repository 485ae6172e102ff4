//! A filter as SQL.
//!
//! Where a filter names what few jobs have (a label, a cause, a rule), these
//! jobs are found by it and their states are checked. Where it names only
//! states, each state's own place is read in the order of the ids, and the
//! places are merged. Else the jobs themselves are read in that order.
//!
//! Due jobs are kept in the order in which they run. A tenant's few are read
//! whole and put in order; where there are many, its jobs are read in the order
//! of their ids, and due ones will be met soon.

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Row as _, Sqlite, SqliteConnection};
use taskflow_application::ports::JobFilter;
use taskflow_domain::{JobId, JobState, TenantId, Timestamp};
use uuid::Uuid;

use super::super::super::error::Fault;
use super::super::super::names::Catalog;
use super::super::names;

/// A value of a parameter.
#[derive(Clone, Debug)]
enum Value {
    Number(i64),
    Text(String),
    Id(Uuid),
}

/// The values of a statement's parameters, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Values(Vec<Value>);

impl Values {
    fn add(&mut self, value: Value) -> String {
        self.0.push(value);
        format!("?{}", self.0.len())
    }

    fn number(&mut self, value: impl Into<i64>) -> String {
        self.add(Value::Number(value.into()))
    }

    /// Binds them.
    pub(super) fn bind(
        self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Query<'_, Sqlite, SqliteArguments> {
        self.0.into_iter().fold(query, |query, value| match value {
            Value::Number(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
            Value::Id(value) => query.bind(value),
        })
    }
}

/// One part of a search: a table whose rows are read in the order of the ids.
#[derive(Clone, Debug)]
struct Source {
    from: String,
    id: &'static str,
    conditions: Vec<String>,
}

/// A search: the union of its sources, which have no job in common.
#[derive(Debug)]
pub(super) struct Search {
    sources: Vec<Source>,
    values: Values,
}

impl Search {
    /// The statement for the ids, the greatest first.
    pub(super) fn ids(mut self, limit: u32) -> (String, Values) {
        let limit = self.values.number(limit);
        let parts: Vec<_> = self
            .sources
            .iter()
            .map(|Source { from, id, conditions }| {
                let conditions = conditions.join(" and ");
                format!(
                    "select id from (select {id} as id from {from} where {conditions} \
                     order by {id} desc limit {limit})"
                )
            })
            .collect();
        (format!("{} order by id desc limit {limit}", parts.join(" union all ")), self.values)
    }

    /// The statement for the number of jobs.
    pub(super) fn count(self) -> (String, Values) {
        let parts: Vec<_> = self
            .sources
            .iter()
            .map(|Source { from, conditions, .. }| {
                format!("(select count(*) from {from} where {})", conditions.join(" and "))
            })
            .collect();
        (format!("select {}", parts.join(" + ")), self.values)
    }
}

/// The search of a filter; `None` if it names what does not exist.
pub(super) async fn search(
    reader: &mut SqliteConnection,
    catalog: &Catalog,
    tenant: TenantId,
    filter: &JobFilter,
    before: Option<JobId>,
    now: Timestamp,
) -> Result<Option<Search>, Fault> {
    let mut values = Values::default();
    let owner = tenant;
    let tenant = values.number(tenant.0);
    let before = before.map(|job| values.add(Value::Id(job.0)));
    let mut of_job = Vec::new();
    if let Some(queue) = &filter.queue {
        let ids = names::queue_ids(reader, catalog, std::slice::from_ref(queue)).await?;
        let Some(id) = ids.first() else { return Ok(None) };
        of_job.push(format!("j.queue_id = {}", values.number(*id)));
    }
    if let Some(kind) = &filter.kind {
        let ids = names::kind_ids(reader, catalog, std::slice::from_ref(kind)).await?;
        let Some(id) = ids.first() else { return Ok(None) };
        of_job.push(format!("j.kind_id = {}", values.number(*id)));
    }
    conditions(&mut values, &mut of_job, filter);
    let rare = !filter.labels.is_empty() || filter.correlation_id.is_some() || filter.rule_id.is_some();
    let key = Key { tenant, before };
    if rare || filter.states.is_empty() {
        let sources = vec![by_job(&mut values, &key, filter, of_job, now)];
        return Ok(Some(Search { sources, values }));
    }
    let many = filter.states.contains(&JobState::Pending) && many_due(reader, owner).await?;
    let places = places(&mut values, &filter.states, now);
    let sources = places.into_iter().map(|place| by_place(&key, place, &of_job, many)).collect();
    Ok(Some(Search { sources, values }))
}

/// Whether a tenant has so many due jobs that they are not put in order for a page.
async fn many_due(reader: &mut SqliteConnection, tenant: TenantId) -> Result<bool, Fault> {
    let row = sqlx::query(DUE).bind(tenant.0).bind(FEW_DUE + 1).fetch_one(reader).await?;
    Ok(row.try_get::<i64, _>(0)? > FEW_DUE)
}

const FEW_DUE: i64 = 10_000;

const DUE: &str = "select count(*) from ( \
    select 1 from lane l cross join ready r on r.lane_id = l.id where l.tenant_id = ?1 limit ?2)";

/// The parameters that bound every source.
struct Key {
    tenant: String,
    before: Option<String>,
}

/// What is asked of the job itself, besides its names.
fn conditions(values: &mut Values, of_job: &mut Vec<String>, filter: &JobFilter) {
    if let Some(priority) = filter.priority {
        of_job.push(format!("j.priority = {}", values.number(priority.code())));
    }
    if let Some(after) = filter.created_after {
        of_job.push(format!("j.created_at > {}", values.number(after.micros())));
    }
    if let Some(before) = filter.created_before {
        of_job.push(format!("j.created_at < {}", values.number(before.micros())));
    }
    if let Some(correlation) = filter.correlation_id {
        // A job without a cause of its own is its own cause.
        let id = values.add(Value::Id(correlation.0));
        of_job.push(format!("(j.correlation_id = {id} or (j.id = {id} and j.correlation_id is null))"));
    }
    if let Some(rule) = filter.rule_id {
        of_job.push(format!("j.rule_id = {}", values.add(Value::Id(rule.0))));
    }
}

/// Jobs found by themselves or by their first label, with a check of their states.
fn by_job(
    values: &mut Values,
    key: &Key,
    filter: &JobFilter,
    mut conditions: Vec<String>,
    now: Timestamp,
) -> Source {
    let Key { tenant, before } = key;
    conditions.push(format!("j.tenant_id = {tenant}"));
    let mut labels = filter.labels.iter();
    let (from, id) = match labels.next() {
        None => ("job j".to_owned(), "j.id"),
        Some((name, value)) => {
            let (name, value) = label(values, name, value);
            conditions.push(format!("d.tenant_id = {tenant} and d.key = {name} and d.value = {value}"));
            let join = "job_label d cross join job j on j.tenant_id = d.tenant_id and j.id = d.job_id";
            (join.to_owned(), "d.job_id")
        }
    };
    for (name, value) in labels {
        let (name, value) = label(values, name, value);
        conditions.push(format!(
            "exists (select 1 from job_label o where o.tenant_id = {tenant} and o.key = {name} \
             and o.value = {value} and o.job_id = j.id)"
        ));
    }
    if let Some(before) = before {
        conditions.push(format!("{id} < {before}"));
    }
    if !filter.states.is_empty() {
        let standing: Vec<_> = places(values, &filter.states, now)
            .into_iter()
            .map(|Place { table, condition }| {
                format!(
                    "exists (select 1 from {table} p where p.tenant_id = {tenant} and p.job_id = j.id{})",
                    condition.map(|condition| format!(" and {condition}")).unwrap_or_default()
                )
            })
            .collect();
        conditions.push(format!("({})", standing.join(" or ")));
    }
    Source { from, id, conditions }
}

fn label(values: &mut Values, name: &str, value: &str) -> (String, String) {
    (values.add(Value::Text(name.to_owned())), values.add(Value::Text(value.to_owned())))
}

/// Jobs found by where they stand.
fn by_place(key: &Key, Place { table, condition }: Place, of_job: &[String], many: bool) -> Source {
    const OF_JOB: &str = "cross join job j on j.tenant_id = p.tenant_id and j.id = p.job_id";
    let tenant = &key.tenant;
    let due = table == "ready";
    let (mut from, id, owner) = match (due, many) {
        (true, true) => {
            let from = "job j cross join ready p on p.job_id = j.id and p.tenant_id = j.tenant_id";
            (from.to_owned(), "j.id", "j")
        }
        (true, false) => ("lane l cross join ready p on p.lane_id = l.id".to_owned(), "p.job_id", "l"),
        _ => (format!("{table} p"), "p.job_id", "p"),
    };
    if !(of_job.is_empty() || due && many) {
        from = format!("{from} {OF_JOB}");
    }
    let mut conditions = vec![format!("{owner}.tenant_id = {tenant}")];
    conditions.extend(condition);
    conditions.extend_from_slice(of_job);
    conditions.extend(key.before.as_ref().map(|before| format!("{id} < {before}")));
    Source { from, id, conditions }
}

/// Where jobs of a state stand: a table `p`, and which of its rows.
struct Place {
    table: &'static str,
    condition: Option<String>,
}

/// The places of some states. A scheduled job that is due counts as PENDING.
fn places(values: &mut Values, states: &[JobState], now: Timestamp) -> Vec<Place> {
    let mut states = states.to_vec();
    states.sort_unstable();
    states.dedup();
    let mut places = Vec::new();
    for state in states {
        let parked = |condition| Place { table: "parked", condition: Some(condition) };
        match state {
            JobState::Pending => {
                places.push(Place { table: "ready", condition: None });
                let now = values.number(now.micros());
                places.push(parked(format!("p.state = 1 and p.due_at <= {now}")));
            }
            JobState::Scheduled => {
                let now = values.number(now.micros());
                places.push(parked(format!("p.state = 1 and p.due_at > {now}")));
            }
            JobState::Waiting | JobState::Paused => {
                places.push(parked(format!("p.state = {}", state.code())));
            }
            JobState::Running => places.push(Place { table: "running", condition: None }),
            JobState::Succeeded | JobState::Failed | JobState::Dead | JobState::Cancelled => {
                let condition = Some(format!("p.state = {}", state.code()));
                places.push(Place { table: "finished", condition });
            }
        }
    }
    places
}

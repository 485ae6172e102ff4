//! Finding the ids of the jobs that meet a filter.
//!
//! The text of the statement is put together of fixed fragments. Every value is
//! bound, always under the same number, whether the text mentions it or not.

use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row};
use taskflow_application::ports::{JobFilter, Page, StoreResult};
use taskflow_domain::{JobId, JobState, TenantId, Timestamp};
use uuid::Uuid;

use super::super::Inner;
use super::branch::{Source, Want};
use super::unreadable;

/// How far a job's id may tell another time than its `created_at`. Ids never go
/// back, so after a correction of the clock they keep the later time for a while.
const ID_SLACK_MS: i64 = 60_000;

/// With so many entries a source is not worth being preferred to the states.
pub(super) const MANY: i64 = 500;

/// A filter in the terms of the database.
#[derive(Clone, Debug)]
pub(super) struct Search {
    tenant: i32,
    /// Inclusive.
    low: Uuid,
    /// Exclusive.
    high: Uuid,
    limit: i64,
    now: i64,
    /// In any order, without doubles; empty for any.
    pub(super) states: Vec<JobState>,
    pub(super) queue: Option<i32>,
    pub(super) kind: Option<i32>,
    pub(super) priority: Option<i16>,
    pub(super) correlation: Option<Uuid>,
    pub(super) rule: Option<Uuid>,
    pub(super) keys: Vec<String>,
    values: Vec<String>,
    pub(super) after: Option<i64>,
    pub(super) before: Option<i64>,
    source: Source,
}

impl Inner {
    /// The filter in the terms of the database; `None` if no job can meet it.
    pub(super) async fn search(
        self: &Arc<Self>,
        tenant: TenantId,
        filter: &JobFilter,
        page: Option<Page>,
        now: Timestamp,
    ) -> StoreResult<Option<Search>> {
        let mut search = Search::of(tenant, filter, page, now);
        if let Some(queue) = &filter.queue {
            search.queue = self.find_queues(std::slice::from_ref(queue)).await?.pop();
            if search.queue.is_none() {
                return Ok(None);
            }
        }
        if let Some(kind) = &filter.kind {
            search.kind = self.find_kinds(std::slice::from_ref(kind)).await?.pop();
            if search.kind.is_none() {
                return Ok(None);
            }
        }
        search.source = search.choose(self).await?;
        Ok((search.low < search.high).then_some(search))
    }
}

impl Search {
    fn of(tenant: TenantId, filter: &JobFilter, page: Option<Page>, now: Timestamp) -> Self {
        let mut states: Vec<JobState> = JobState::ALL.to_vec();
        states.retain(|state| filter.states.contains(state));
        if states.len() == JobState::ALL.len() {
            states.clear();
        }
        let low = filter.created_after.map_or(Uuid::nil(), |after| id_at(after, -ID_SLACK_MS));
        let high = filter.created_before.map_or(Uuid::max(), |before| id_at(before, ID_SLACK_MS));
        let before = page.and_then(|page| page.before).map_or(Uuid::max(), |job| job.0);
        Self {
            tenant: tenant.0,
            low,
            high: high.min(before),
            limit: page.map_or(0, |page| page.limit.into()),
            now: now.micros(),
            states,
            queue: None,
            kind: None,
            priority: filter.priority.map(taskflow_domain::Priority::code),
            correlation: filter.correlation_id.map(|id| id.0),
            rule: filter.rule_id.map(|id| id.0),
            keys: filter.labels.keys().cloned().collect(),
            values: filter.labels.values().cloned().collect(),
            after: filter.created_after.map(Timestamp::micros),
            before: filter.created_before.map(Timestamp::micros),
            source: Source::Jobs,
        }
    }

    /// The source with the fewest entries, as far as a short look at each shows.
    async fn choose(&self, inner: &Arc<Inner>) -> StoreResult<Source> {
        let mut rare: Vec<Source> = (1..=self.keys.len()).map(Source::Label).collect();
        rare.extend(self.correlation.map(|_| Source::Correlation));
        rare.extend(self.rule.map(|_| Source::Rule));
        let any_state = self.states.is_empty();
        match rare.as_slice() {
            [] if any_state => return Ok(Source::Jobs),
            [] => return Ok(Source::Places),
            [only] if any_state => return Ok(*only),
            _ => {}
        }
        let looks: Vec<_> = rare
            .iter()
            .map(|source| format!("(select count(*) from ({}) u)", self.walks(*source, Want::Probe)))
            .collect();
        let text = format!("select array[{}]", looks.join(", "));
        let row = self.row(inner, text).await?;
        let sizes: Vec<i64> = row.try_get(0).map_err(unreadable)?;
        let rarest = rare.into_iter().zip(sizes).min_by_key(|(_, size)| *size);
        Ok(match rarest {
            Some((source, size)) if any_state || size < MANY => source,
            _ => Source::Places,
        })
    }

    /// The ids of the page, as a subquery's text with the columns `job_id` and
    /// `n`, and what goes in front of it.
    pub(super) fn page(&self) -> (String, String) {
        let walks = self.walks(self.source, Want::Page);
        let page = format!("select u.job_id, null::int8 n from ({walks}) u order by u.job_id desc limit $4");
        (self.front(self.source), page)
    }

    /// The ids of the page.
    pub(super) async fn ids(&self, inner: &Arc<Inner>) -> StoreResult<Vec<JobId>> {
        let (front, page) = self.page();
        let text = format!("{front}page as ({page}) select job_id from page order by job_id desc");
        let rows = self.rows(inner, text).await?;
        rows.iter().map(|row| Ok(JobId(row.try_get(0).map_err(unreadable)?))).collect()
    }

    /// How many jobs meet the filter.
    pub(super) async fn count(&self, inner: &Arc<Inner>) -> StoreResult<u64> {
        let (front, walks) = (self.front(self.source), self.walks(self.source, Want::All));
        let text = format!("{front}every as ({walks}) select count(*) from every");
        let row = self.row(inner, text).await?;
        let count: i64 = row.try_get(0).map_err(unreadable)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// The rows of a statement that takes the values of this search.
    pub(super) async fn rows(&self, inner: &Arc<Inner>, text: String) -> StoreResult<Vec<PgRow>> {
        let search = self.clone();
        let look = inner.look(TenantId(self.tenant), move |connection| {
            Box::pin(search.query(text.clone()).fetch_all(connection))
        });
        look.await
    }

    /// The row of a statement that counts.
    async fn row(&self, inner: &Arc<Inner>, text: String) -> StoreResult<PgRow> {
        let mut rows = self.rows(inner, text).await?;
        rows.pop().ok_or_else(|| unreadable(sqlx::Error::RowNotFound))
    }

    /// A statement of fixed fragments, with all values.
    fn query(&self, text: String) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(AssertSqlSafe(text))
            .bind(self.tenant)
            .bind(self.low)
            .bind(self.high)
            .bind(self.limit)
            .bind(self.now)
            .bind(self.queue)
            .bind(self.kind)
            .bind(self.priority)
            .bind(self.correlation)
            .bind(self.rule)
            .bind(self.keys.clone())
            .bind(self.values.clone())
            .bind(self.after)
            .bind(self.before)
    }
}

/// The least id that could be made `slack_ms` after `at`.
fn id_at(at: Timestamp, slack_ms: i64) -> Uuid {
    const MOST: i64 = (1 << 48) - 1;
    let ms = at.plus_millis(slack_ms).micros().div_euclid(1_000).clamp(0, MOST);
    Uuid::from_u128((ms as u128) << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_times() {
        let at = Timestamp::from_micros(1_700_000_000_123_456);
        let id = Uuid::from_u128((1_700_000_000_123 << 80) | (7 << 76) | (2 << 62));
        assert!(id_at(at, 0) <= id && id < id_at(at, 1));
        assert!(id_at(at, -ID_SLACK_MS) < id && id < id_at(at, ID_SLACK_MS));
        assert_eq!(id_at(Timestamp::MIN, 0), Uuid::nil());
        assert!(id_at(Timestamp::MAX, ID_SLACK_MS) < Uuid::max());
    }
}

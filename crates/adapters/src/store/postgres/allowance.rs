//! Request rates over all processes: one row for each allowance, moved by one statement.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Row as _;
use taskflow_application::ports::{Allowances, StoreResult, Whose};
use taskflow_domain::Timestamp;
use taskflow_domain::queue::Rate;
use taskflow_domain::throttle::{Drawn, price_us};

use super::Inner;
use super::unit::{detached, repeat};
use crate::store::error::from_sqlx;

/// The rule of the domain, on the row. `$2` now, `$3` what is wanted, `$4` what one
/// costs, `$5` the most that may be owed. What was owed before is the row's time from
/// now, between nothing and the most.
const DRAW: &str = "
insert into allowance as a (whose, paid_at, drawn)
values ($1, $2::int8 + least($3::int8, $5::int8 / $4::int8) * $4, least($3, $5 / $4))
on conflict (whose) do update set
    drawn = least($3, ($5 - greatest(least(a.paid_at - $2, $5), 0)) / $4),
    paid_at = greatest(a.paid_at, $2 + greatest(least(a.paid_at - $2, $5), 0)
        + least($3, ($5 - greatest(least(a.paid_at - $2, $5), 0)) / $4) * $4)
returning drawn, least(paid_at - $2, $5)";

/// The port over PostgreSQL.
pub(super) struct PgAllowances(pub(super) Arc<Inner>);

#[async_trait]
impl Allowances for PgAllowances {
    async fn draw(&self, whose: Whose, rate: Rate, want: u32, now: Timestamp) -> StoreResult<Drawn> {
        let pool = self.0.pool.clone();
        let (each_us, most_us) = price_us(rate);
        // Whoever asked may go away; the statement is carried to its end all the same.
        let row = detached(async move {
            let whose = whose.to_string();
            let draw = || {
                sqlx::query(DRAW)
                    .bind(&whose)
                    .bind(now.micros())
                    .bind(i64::from(want))
                    .bind(each_us)
                    .bind(most_us)
                    .fetch_one(&pool)
            };
            repeat(draw).await
        });
        let row = row.await?;
        let read = || Ok((row.try_get::<i64, _>(0)?, row.try_get(1)?));
        let (granted, owed_us) = read().map_err(|fault: sqlx::Error| from_sqlx(&fault))?;
        Ok(Drawn { granted: u32::try_from(granted).unwrap_or_default(), owed_us })
    }
}

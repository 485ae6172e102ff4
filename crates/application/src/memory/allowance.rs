//! Allowances of the one process that there is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use taskflow_domain::Timestamp;
use taskflow_domain::queue::Rate;
use taskflow_domain::throttle::{Drawn, Throttle};

use crate::ports::{Allowances, StoreResult, Whose};

/// With so many entries, those that say nothing any more are dropped.
const MANY: usize = 10_000;

/// Allowances of the one process that there is.
#[derive(Debug, Default)]
pub struct LocalAllowances(Mutex<HashMap<Whose, Throttle>>);

#[async_trait]
impl Allowances for LocalAllowances {
    async fn draw(&self, whose: Whose, rate: Rate, want: u32, now: Timestamp) -> StoreResult<Drawn> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= MANY {
            taken.retain(|_, throttle| !throttle.is_fresh(now));
        }
        Ok(taken.entry(whose).or_insert(Throttle::FRESH).draw(rate, want, now))
    }
}

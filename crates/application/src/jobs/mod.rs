//! Jobs as their owners use them: submit, look, act.

mod bulk;
mod coalesce;
mod control;
mod error;
mod fields;
mod look;
mod submit;
mod wish;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use taskflow_domain::TenantId;

use crate::World;
use crate::audit::Audit;
use crate::caller::Directory;
use coalesce::Coalescer;

pub use bulk::{BulkAction, BulkOutcome};
pub use error::JobsError;
pub use fields::{MAX_LABELS, header_value, idempotency_key, label_key, label_value, target_url};
pub(crate) use fields::{header_part, url_part, url_start};
pub use look::Listed;
pub(crate) use look::{weigh_attempt, weigh_job};
pub use submit::Submitted;
pub use wish::JobWish;

/// The most jobs that one batch may hold.
pub const MAX_BATCH: usize = 10_000;

/// Jobs as their owners use them.
#[derive(Clone)]
pub struct Jobs {
    world: World,
    directory: Directory,
    coalescer: Coalescer,
    audit: Audit,
    /// Idempotency keys of submits that have not been answered yet.
    in_flight: Arc<Mutex<BTreeSet<(TenantId, String)>>>,
}

impl Jobs {
    /// The use cases over `world`.
    pub fn new(world: World) -> Self {
        Self {
            directory: Directory::new(world.clone()),
            coalescer: Coalescer::new(world.clone()),
            audit: Audit::new(world.clone()),
            in_flight: Arc::default(),
            world,
        }
    }
}

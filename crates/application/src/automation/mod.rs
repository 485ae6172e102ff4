//! Automation rules: when X happens and Y holds, these jobs are made.
//!
//! [`save`](Automation::create) checks a rule whole before it is kept. What makes
//! rules fire are the clock ([`Automation::tick`]), deliveries
//! ([`Automation::deliver`]), events ([`Automation::dispatch`]) and hands
//! ([`Automation::trigger`]). All of them come through one evaluation (`judge`)
//! and one port method ([`crate::ports::RuleStore::fire`]), which commits the
//! firing, its jobs and what it was fired for together, so that it happens once.

mod by_hand;
mod check;
mod deliver;
mod dispatch;
mod error;
mod fan_out;
mod field;
mod fire;
mod judge;
mod look;
mod prune;
mod pulse;
mod ready;
mod rehearse;
mod save;
mod tick;
mod trace;
mod vocabulary;
mod webhook_key;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use taskflow_domain::{RuleId, TenantId};

use crate::World;
use crate::audit::Audit;
use crate::caller::{Caller, Directory};
use crate::ports::{ConditionEngine, Signatures};

pub use by_hand::HandStart;
pub use deliver::{Delivered, Delivery, NewEvent};
pub use error::{AutomationError, RuleFault};
pub use look::RuleStats;
pub use prune::EventRetention;
pub use pulse::{Pulse, PulseWorker, Pulsed, Ran};
pub use rehearse::{Rehearsal, Simulation};
pub use save::RuleWish;
pub use trace::{Trace, TraceNode, Traced};

/// What rules need besides the world.
#[derive(Clone)]
pub struct Tools {
    /// Evaluates conditions and templates.
    pub conditions: Arc<dyn ConditionEngine>,
    /// Checks signatures.
    pub signatures: Arc<dyn Signatures>,
}

/// Rules made ready to be evaluated, by their owners and ids.
type Kept = BTreeMap<(TenantId, RuleId), Arc<ready::Ready>>;

/// Automation rules.
#[derive(Clone)]
pub struct Automation {
    world: World,
    tools: Tools,
    directory: Directory,
    audit: Audit,
    /// Tenants of one commit of a fan-out.
    chunk: u32,
    /// Rules made ready to be evaluated.
    kept: Arc<Mutex<Kept>>,
    /// Until when nobody looks at what waits, in microseconds.
    look_again: Arc<AtomicI64>,
    /// Refused deliveries of each rule in this minute.
    rejects: Arc<Mutex<BTreeMap<RuleId, (i64, u32)>>>,
    /// How many rules a tenant may have.
    most_rules: u32,
    /// Whose turn it is at the outbox.
    turn: Arc<dispatch::Turn>,
}

/// How many rules a tenant may have, unless it is set.
pub const MOST_RULES: u32 = 10_000;

impl Automation {
    /// The use cases over `world`.
    pub fn new(world: World, tools: Tools) -> Self {
        Self {
            directory: Directory::new(world.clone()),
            audit: Audit::new(world.clone()),
            world,
            tools,
            chunk: fan_out::CHUNK,
            kept: Arc::default(),
            look_again: Arc::default(),
            rejects: Arc::default(),
            most_rules: MOST_RULES,
            turn: Arc::default(),
        }
    }

    /// With so few tenants in one commit of a fan-out that a handful of tenants
    /// takes several.
    #[must_use]
    pub fn with_chunk(self, tenants: u32) -> Self {
        Self { chunk: tenants.clamp(1, fan_out::CHUNK), ..self }
    }

    /// The same with so many rules for each tenant at most.
    #[must_use]
    pub fn with_most_rules(mut self, most: u32) -> Self {
        self.most_rules = most;
        self
    }

    /// The caller's tenant. An unknown one owns no rule, so its rules are absent.
    async fn tenant(&self, caller: &Caller) -> Result<TenantId, AutomationError> {
        self.directory.find(caller).await?.ok_or(AutomationError::NotFound)
    }
}

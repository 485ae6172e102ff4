//! Automation rules: when X happens and Y holds, these jobs are made.
//!
//! [`save`](Automation::create) checks a rule whole before it is kept. What makes
//! rules fire are the clock ([`Automation::tick`]), deliveries
//! ([`Automation::deliver`]), events ([`Automation::dispatch`]) and hands
//! ([`Automation::trigger`]). All of them come through one evaluation (`judge`)
//! and one port method ([`crate::ports::RuleStore::fire`]), which commits the
//! firing, its jobs and what it was fired for together, so that it happens once.

mod error;
mod look;
mod save;

use std::sync::Arc;

use taskflow_domain::TenantId;

use crate::World;
use crate::caller::{Caller, Directory};
use crate::ports::{ConditionEngine, Signatures, Vault};

pub use error::{AutomationError, RuleFault};
pub use look::RuleStats;
pub use save::RuleWish;

/// What rules need besides the world.
#[derive(Clone)]
pub struct Tools {
    /// Evaluates conditions and templates.
    pub conditions: Arc<dyn ConditionEngine>,
    /// Checks signatures.
    pub signatures: Arc<dyn Signatures>,
    /// Keeps secrets. Without it a rule can have none.
    pub vault: Option<Arc<dyn Vault>>,
}

/// Automation rules.
#[derive(Clone)]
pub struct Automation {
    world: World,
    tools: Tools,
    directory: Directory,
}

impl Automation {
    /// The use cases over `world`.
    pub fn new(world: World, tools: Tools) -> Self {
        Self { directory: Directory::new(world.clone()), world, tools }
    }

    /// The caller's tenant. An unknown one owns no rule, so its rules are absent.
    async fn tenant(&self, caller: &Caller) -> Result<TenantId, AutomationError> {
        self.directory.find(caller).await?.ok_or(AutomationError::NotFound)
    }
}

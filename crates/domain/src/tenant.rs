//! A tenant and what an operator may set of it.

use crate::id::TenantId;
use crate::job::Json;
use crate::name::TenantSlug;
use crate::queue::Rate;
use crate::time::Timestamp;

/// What an operator may set of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSettings {
    /// Free-form facts for rules: a JSON object.
    pub attributes: Json,
    /// Its share of a busy system relative to others, 1 to 1000.
    pub weight: u32,
    /// Its jobs that may run at once, over all queues.
    pub max_running: Option<u32>,
    /// Its jobs that may wait at once; beyond, submits are refused.
    pub max_backlog: Option<u32>,
    /// Requests that it may make with its keys.
    pub request_rate: Option<Rate>,
    /// Whether none of its jobs may start.
    pub paused: bool,
    /// Whether it may change nothing: its submits are refused and its keys only
    /// read. A suspended tenant is paused too.
    pub suspended: bool,
}

impl TenantSettings {
    /// How many of its jobs may wait: none where it is suspended.
    pub const fn backlog_limit(&self) -> Option<u32> {
        if self.suspended { Some(0) } else { self.max_backlog }
    }
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self {
            attributes: Json::object(),
            weight: 1,
            max_running: None,
            max_backlog: None,
            request_rate: None,
            paused: false,
            suspended: false,
        }
    }
}

/// A tenant as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Inside the engine.
    pub id: TenantId,
    /// Outside of it.
    pub slug: TenantSlug,
    /// What is set.
    pub settings: TenantSettings,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// When a setting last changed.
    pub updated_at: Timestamp,
}

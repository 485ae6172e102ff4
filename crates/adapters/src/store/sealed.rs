//! What is kept sealed, for somebody who asks which keys it needs. Both dialects
//! understand the statements.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use taskflow_application::ports::SecretOf;
use taskflow_domain::{RuleId, TenantId, Timestamp};
use uuid::Uuid;

/// So many rows of each kind are looked at.
pub(super) const MOST: i64 = 10_000;

pub(super) const SECRETS: &str = "select tenant_id, rule_id, cast(slot as integer), sealed, expires_at \
    from rule_secret limit $1";
/// Jobs that have ended need their credentials no more.
pub(super) const TARGETS: &str = "select j.tenant_id, j.target from job j \
    where j.target like '%\"sealed_headers\"%' and not exists \
    (select 1 from finished f where f.tenant_id = j.tenant_id and f.job_id = j.id) limit $1";
pub(super) const BODIES: &str = "select tenant_id, body from rule \
    where deleted_at is null and body like '%\"sealed_headers\"%' limit $1";

/// A row of [`SECRETS`].
pub(super) type Secret = (i32, Uuid, i32, Vec<u8>, Option<i64>);
/// A row of [`TARGETS`] or [`BODIES`].
pub(super) type Document = (i32, String);

/// What is kept sealed.
#[derive(Debug)]
pub struct Sealed {
    /// For whom, and the envelope.
    pub list: Vec<(SecretOf, Vec<u8>)>,
    /// Whether that is all.
    pub all: bool,
}

impl Sealed {
    /// Of rows of the three statements, what is of use after `now`.
    pub(super) fn of(
        now: Timestamp,
        secrets: Vec<Secret>,
        targets: &[Document],
        bodies: &[Document],
    ) -> Self {
        let counts = [secrets.len(), targets.len(), bodies.len()];
        let live = secrets.into_iter().filter(|secret| secret.4.is_none_or(|until| until > now.micros()));
        let secret = |(tenant, rule, slot, sealed, _): Secret| {
            let (tenant, rule) = (TenantId(tenant), RuleId(rule));
            (SecretOf::Rule { tenant, rule, slot: u8::try_from(slot).unwrap_or(u8::MAX) }, sealed)
        };
        let mut list: Vec<_> = live.map(secret).collect();
        for (tenant, target) in targets {
            let target: Value = serde_json::from_str(target).unwrap_or_default();
            list.extend(headers(*tenant, &target));
        }
        for (tenant, body) in bodies {
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            let actions = body["actions"].as_array().into_iter().flatten();
            list.extend(actions.flat_map(|action| headers(*tenant, &action["target"])));
        }
        Self { list, all: counts.iter().all(|count| *count < MOST as usize) }
    }
}

/// The sealed headers of a target. What is no Base64 is nothing that a key opens.
fn headers(tenant: i32, target: &Value) -> Vec<(SecretOf, Vec<u8>)> {
    let headers = target["sealed_headers"].as_object().into_iter().flatten();
    let sealed =
        headers.map(|(_, value)| STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default());
    sealed.map(|sealed| (SecretOf::Header { tenant: TenantId(tenant) }, sealed)).collect()
}

//! Keys and the audit as operators see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Rate, Time, schema};

/// An API key, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// What it is known by.
    #[schema(value_type = String, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub id: Uuid,
    /// The first of the keys that came of one another by rotation; itself if it came of
    /// none. Two keys of a family are good at once, and no third.
    #[schema(value_type = String, format = "uuid", example = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11")]
    pub family: Uuid,
    /// What people call it.
    #[schema(example = "billing-service")]
    pub name: String,
    /// Whose it is; null for an operator's.
    #[schema(example = "acme")]
    pub tenant: Option<String>,
    /// What it may do.
    #[schema(schema_with = schema::scopes)]
    pub scopes: Vec<String>,
    /// Requests in a time; null for any number.
    pub rate_limit: Option<Rate>,
    /// Since when it exists.
    pub created_at: Time,
    /// Who made it.
    #[schema(example = "operator")]
    pub created_by: String,
    /// When it ends by itself; null for never.
    pub expires_at: Option<Time>,
    /// When it was revoked; null if it was not.
    pub revoked_at: Option<Time>,
    /// When it was last used, to within a minute or so; null if it was not.
    pub last_used_at: Option<Time>,
}

/// A key that was just made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MadeApiKey {
    /// The text to be sent as `Authorization: Bearer …`. It is shown this once.
    #[schema(example = "tf_key_01J…")]
    pub key: String,
    /// The key that it is of.
    pub api_key: ApiKey,
}

impl std::fmt::Debug for MadeApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeApiKey").field("api_key", &self.api_key).finish_non_exhaustive()
    }
}

/// A key that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "billing-service", "tenant": "default", "scopes": ["jobs:read", "jobs:write"]}))]
pub struct ApiKeyRequest {
    /// What people call it.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
        example = "billing-service"
    )]
    pub name: String,
    /// Whose it is to be; an operator's names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,99}$", example = "default")]
    pub tenant: Option<String>,
    /// What it may do. An operator's has `operator` alone, which stands for all.
    #[schema(schema_with = schema::scopes)]
    pub scopes: Vec<String>,
    /// Requests in a time; any number if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<Rate>,
    /// When it ends by itself; never if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

/// How a key is rotated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"old_for_ms": 3_600_000}))]
pub struct RotateRequest {
    /// How long the old key stays good; a day if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 2_592_000_000_u64, example = 3_600_000)]
    pub old_for_ms: Option<u64>,
    /// When the new key ends by itself; when the old one would have if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// 1 for the first; no number is missing.
    #[schema(example = 17)]
    pub seq: u64,
    /// When.
    pub at: Time,
    /// By whom: `key:<id>`, `operator` for the key of the configuration, or
    /// `api` where nobody needs a key.
    #[schema(example = "operator")]
    pub actor: String,
    /// For which tenant; null if for all.
    #[schema(example = "acme")]
    pub tenant: Option<String>,
    /// What.
    #[schema(example = "queue.pause")]
    pub action: String,
    /// To what.
    #[schema(example = "queue:mail")]
    pub object: String,
    /// Why, if that was said.
    #[schema(example = "the mail server is down")]
    pub reason: Option<String>,
    /// What it was like before, as far as it changed.
    #[schema(value_type = Option<Object>)]
    pub before: Option<serde_json::Value>,
    /// What it was like after.
    #[schema(value_type = Option<Object>)]
    pub after: Option<serde_json::Value>,
    /// In which request.
    #[schema(example = "6d1e4ed1f6f34f34")]
    pub request_id: String,
    /// The `hash` of the entry before, in hexadecimal digits.
    pub prev_hash: String,
    /// SHA-256 over this entry and `prev_hash`, in hexadecimal digits.
    pub hash: String,
}

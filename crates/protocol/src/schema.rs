//! Schemas that a derive cannot say: objects with checked keys and values.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};

fn text(most: usize, pattern: Option<&str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).max_length(Some(most)).pattern(pattern)
}

fn strings(most: usize, key_pattern: &str, value: ObjectBuilder) -> ObjectBuilder {
    let keys = ObjectBuilder::new().schema_type(Type::String).pattern(Some(key_pattern));
    ObjectBuilder::new()
        .property_names(Some(RefOr::T(Schema::Object(keys.build()))))
        .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(Schema::Object(value.build())))))
        .max_properties(Some(most))
}

fn label_object() -> ObjectBuilder {
    strings(32, "^[A-Za-z0-9._/-]{1,63}$", text(255, Some("^[^\\u0000]*$")))
        .description(Some("What the job can be found by: at most 32 labels."))
        .examples([serde_json::json!({ "team": "growth" })])
}

/// A job's labels.
pub(crate) fn labels() -> RefOr<Schema> {
    label_object().into()
}

/// A job's labels, or nothing.
pub(crate) fn labels_or_null() -> RefOr<Schema> {
    label_object().schema_type(SchemaType::from_iter([Type::Object, Type::Null])).into()
}

fn header_object() -> ObjectBuilder {
    strings(50, "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$", text(4096, Some("^([!-~]([ -~]*[!-~])?)?$")))
        .description(Some(
            "Headers of the call. Those that TaskFlow or HTTP itself sets (Host, Content-Length, Taskflow-*, …) are refused.",
        ))
        .examples([serde_json::json!({ "X-Source": "taskflow" })])
}

/// The headers of a call.
pub(crate) fn headers() -> RefOr<Schema> {
    header_object().into()
}

/// The attributes of a tenant.
pub(crate) fn attributes() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .description(Some("Free-form facts about the tenant, at most 16,384 bytes."))
        .examples([serde_json::json!({ "plan": "pro" })])
        .into()
}

/// The attributes of a tenant, or nothing.
pub(crate) fn attributes_or_null() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .description(Some("Free-form facts about the tenant, at most 16,384 bytes."))
        .examples([serde_json::json!({ "plan": "pro" })])
        .into()
}

fn names(least: usize, types: &[Type]) -> ArrayBuilder {
    let name = text(100, Some("^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$")).min_length(Some(1));
    ArrayBuilder::new()
        .schema_type(types.iter().cloned().collect::<SchemaType>())
        .items(name)
        .min_items(Some(least))
        .max_items(Some(100))
}

/// The queues that a worker serves, or nothing.
pub(crate) fn queues_or_null() -> RefOr<Schema> {
    let queues = names(0, &[Type::Array, Type::Null]);
    queues
        .description(Some("Only jobs of these queues; of all if empty or not said."))
        .examples([serde_json::json!(["mail"])])
        .into()
}

/// The kinds that a worker serves.
pub(crate) fn kinds() -> RefOr<Schema> {
    let kinds = names(1, &[Type::Array]);
    kinds
        .description(Some("The kinds that the worker serves."))
        .examples([serde_json::json!(["send-email"])])
        .into()
}

/// What a key may do.
pub(crate) fn scopes() -> RefOr<Schema> {
    let words = ["jobs:read", "jobs:write", "rules:read", "rules:write", "worker", "operator"];
    let scope = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
    ArrayBuilder::new()
        .items(scope)
        .min_items(Some(1))
        .max_items(Some(6))
        .description(Some("What the key may do."))
        .examples([serde_json::json!(["jobs:read", "jobs:write"])])
        .into()
}

/// HTTP statuses.
pub(crate) fn statuses() -> RefOr<Schema> {
    let status = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(100)).maximum(Some(599));
    ArrayBuilder::new().items(status).max_items(Some(100)).into()
}

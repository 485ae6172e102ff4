//! What the OpenAPI description says of parameters and problems, said once.

mod problems;

use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::{Ref, RefOr, Required};

pub(super) use problems::*;

pub(super) const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$";
pub(super) const SLUG: &str = "^[a-z0-9][a-z0-9-]{0,99}$";
const ID: &str = "01970c2e-9f5c-7b1a-8a44-3f1f6c0f7d11";

pub(super) fn text(pattern: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern))
}

fn words() -> ObjectBuilder {
    text("^[^\\u0000]*$").max_length(Some(255))
}

pub(super) fn formatted(format: &str) -> ObjectBuilder {
    let format = match format {
        "date-time" => SchemaFormat::KnownFormat(KnownFormat::DateTime),
        other => SchemaFormat::Custom(other.to_owned()),
    };
    ObjectBuilder::new().schema_type(Type::String).format(Some(format))
}

fn parameter(
    place: ParameterIn,
    name: &str,
    description: &str,
    schema: impl Into<RefOr<Schema>>,
) -> ParameterBuilder {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(description))
        .schema(Some(schema))
}

pub(super) fn query(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> ParameterBuilder {
    parameter(ParameterIn::Query, name, description, schema)
}

macro_rules! parameters {
    ($(#[$doc:meta])* $name:ident, $list:expr) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl IntoParams for $name {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                $list.into_iter().map(ParameterBuilder::build).collect()
            }
        }
    };
}

parameters!(
    /// Whose things are meant.
    TenantHeader,
    [parameter(
        ParameterIn::Header,
        super::extract::TENANT,
        "Whose things are meant; the tenant `default` if not said.",
        text(SLUG).default(Some("default".into())),
    )
    .example(Some("default".into()))]
);

fn trace_header() -> ParameterBuilder {
    parameter(
        ParameterIn::Header,
        "traceparent",
        "W3C trace context, kept with the job. A malformed one is ignored.",
        ObjectBuilder::new().schema_type(Type::String),
    )
    .example(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()))
}

parameters!(
    /// The trace of a submit.
    TraceHeader,
    [trace_header()]
);

parameters!(
    /// What else a submit, or a start by hand, may say in its head.
    SubmitHeaders,
    [
        parameter(
            ParameterIn::Header,
            "Idempotency-Key",
            "What makes a repeat the same request, as `idempotency_key` of a job; bare, or a string in double quotes.",
            text("^[!#-~]{1,255}$"),
        ),
        trace_header(),
    ]
);

parameters!(
    /// Which job.
    JobParam,
    [parameter(ParameterIn::Path, "id", "The job.", formatted("uuid")).example(Some(ID.into()))]
);

parameters!(
    /// Which rule.
    RuleParam,
    [parameter(ParameterIn::Path, "id", "The rule.", formatted("uuid")).example(Some(ID.into()))]
);

parameters!(
    /// Whose delivery it is.
    WebhookParam,
    [parameter(ParameterIn::Path, "key", "The key of a webhook rule.", text("^[A-Za-z0-9_-]{8,128}$"))]
);

parameters!(
    /// Which firings.
    FiringParams,
    [
        query("outcome", "That came to this.", text("^(FIRED|SKIPPED|BLOCKED|ERROR|SHADOW)$")),
        query("tenant", "That were for this tenant.", text(SLUG)),
    ]
);

fn number(most: u32, usual: u32) -> ObjectBuilder {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    number.maximum(Some(most)).default(Some(usual.into()))
}

parameters!(
    /// Which occurrences.
    ScheduleParams,
    [
        query("from", "Later than this; than now if not said.", formatted("date-time")),
        query("count", "How many.", number(1_000, 10)),
    ]
);

parameters!(
    /// Which deliveries.
    DeliveryParams,
    [
        query("since", "Received at this time or later.", formatted("date-time")),
    ]
);

parameters!(
    /// Which queue.
    QueueParam,
    [parameter(ParameterIn::Path, "name", "The queue; a `/` in its name is written `%2F`.", text(NAME))
        .example(Some("mail".into()))]
);

parameters!(
    /// Which tenant.
    TenantParam,
    [parameter(ParameterIn::Path, "slug", "The tenant.", text(SLUG)).example(Some("acme".into()))]
);

parameters!(
    /// Which key.
    KeyParam,
    [parameter(ParameterIn::Path, "id", "The key.", formatted("uuid")).example(Some(ID.into()))]
);

parameters!(
    /// Whose keys.
    KeyListParams,
    [query("tenant", "Only keys of this tenant.", text(SLUG)).example(Some("default".into()))]
);

parameters!(
    /// Whose automations.
    AutomationParams,
    [
        parameter(
            ParameterIn::Header,
            super::extract::TENANT,
            "Only automations of this tenant.",
            text(SLUG),
        )
        .example(Some("default".into())),
        query("tenant", "The same.", text(SLUG)).example(Some("default".into())),
    ]
);

parameters!(
    /// Which entries of the audit.
    AuditParams,
    [
        query("actor", "By this one.", words()).example(Some("operator".into())),
        query("tenant", "For this tenant.", text(SLUG)).example(Some("default".into())),
        query("action", "This was done.", words()).example(Some("queue.pause".into())),
        query("object", "To this.", words()).example(Some("queue:mail".into())),
        query("since", "Not earlier than this.", formatted("date-time"))
            .example(Some("2026-01-01T00:00:00Z".into())),
        query("until", "Earlier than this.", formatted("date-time"))
            .example(Some("2030-01-01T00:00:00Z".into())),
    ]
);

parameters!(
    /// Which page.
    PageParams,
    [
        query(
            "limit",
            "How many entries at most.",
            bounded(500, 50),
        )
        .example(Some(50.into())),
        query(
            "cursor",
            "The `next_cursor` of the page before, of the same list with the same filter.",
            text("^[A-Za-z0-9_-]{11,160}$"),
        ),
    ]
);

pub(super) fn bounded(most: u32, default: u32) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(most))
        .default(Some(default.into()))
}

parameters!(
    /// Which jobs.
    FilterParams,
    [
        query("state", "In one of these states. May be repeated.", states())
            .style(Some(ParameterStyle::Form))
            .explode(Some(true))
            .example(Some(serde_json::json!(["PENDING", "RUNNING"]))),
        query("queue", "In this queue.", text(NAME)).example(Some("mail".into())),
        query("kind", "Of this kind.", text(NAME)).example(Some("send-email".into())),
        query("priority", "Of this priority.", Ref::from_schema_name("JobPriority"))
            .example(Some("medium".into())),
        query("correlation_id", "From this cause.", formatted("uuid")).example(Some(ID.into())),
        query("rule_id", "Made by this rule.", formatted("uuid")).example(Some(ID.into())),
        query("created_after", "Created later than this.", formatted("date-time"))
            .example(Some("2026-01-01T00:00:00Z".into())),
        query("created_before", "Created earlier than this.", formatted("date-time"))
            .example(Some("2030-01-01T00:00:00Z".into())),
        query("labels", "With these labels: `label.<key>=<value>`, one parameter for each.", label_filter())
            .style(Some(ParameterStyle::Form))
            .explode(Some(true))
            .example(Some(serde_json::json!({ "label.team": "growth" }))),
    ]
);

fn states() -> ArrayBuilder {
    ArrayBuilder::new().items(Ref::from_schema_name("JobState"))
}

fn label_filter() -> ObjectBuilder {
    let key = text("^label\\.[A-Za-z0-9._/-]{1,63}$");
    let value = text("^[^\\u0000]*$").max_length(Some(255));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(Schema::Object(key.build())))
        .additional_properties(Some(AdditionalProperties::RefOr(value.into())))
}

//! The OpenAPI description, put together from the routes.

use std::collections::BTreeSet;

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi, RefOr, Required, Schema};

/// What the description says of the whole API.
const INTRODUCTION: &str = "\
Schedule a job, and it runs, is retried, is dead-lettered, and can always say what happened and why.

Everything is JSON in UTF-8. Times are RFC 3339, in answers always UTC with microseconds. Unknown fields, unknown \
query parameters and doubled keys are refused. Nesting goes 64 deep, a body has at most 1,048,576 bytes (a batch, \
or a report of a worker, 16,777,216), a payload or a result 262,144.

Errors are RFC 9457 problems: `code` is for programs and stable, and `errors` names everything that is wrong with \
a request at once. `X-Request-Id` is taken from the request, or made, and comes back with every answer.";

/// What it says of keys.
const KEYS: &str = "\
A key, `tf_…`. Where authentication is off, none is needed. Each operation names the scope that the key must have; \
an operator's has all, and names the tenant by `Taskflow-Tenant`. A tenant's key is for its tenant only.";

/// The description's frame; the routes fill it.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "TaskFlow", license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")),
    tags(
        (name = "jobs", description = "Submitting jobs, looking at them, acting on them"),
        (name = "workers", description = "Workers on the network, which pull their jobs"),
        (name = "queues", description = "Queues: limits, holds, depth"),
        (name = "rules", description = "Automation rules: when this happens and that holds, make these jobs"),
        (name = "events", description = "What comes from outside: webhooks, CloudEvents, one tick"),
        (name = "operations", description = "What happened over time, and who keeps the engine going"),
        (name = "tenants", description = "Tenants: share, limits, attributes"),
        (name = "keys", description = "API keys: whose they are and what they may do"),
        (name = "audit", description = "What was done by whom"),
    ),
    components(schemas(taskflow_protocol::Problem, taskflow_protocol::JobState, taskflow_protocol::JobPriority))
)]
pub(super) struct Frame;

/// The finished description, as JSON.
pub(super) fn document(mut api: OpenApi) -> String {
    api.info.description = Some(INTRODUCTION.to_owned());
    env!("CARGO_PKG_VERSION").clone_into(&mut api.info.version);
    if let Some(components) = &mut api.components {
        let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(KEYS)).build();
        components.security_schemes.insert("key".to_owned(), RefOr::T(SecurityScheme::Http(key)));
        components.schemas.values_mut().for_each(require_all);
        for open in ["JobTarget", "RuleTrigger"] {
            components.schemas.get_mut(open).into_iter().for_each(close_variants);
        }
    }
    for operation in api.paths.paths.values_mut().flat_map(operations) {
        name_requests(operation);
        leave_out_body(operation);
    }
    api.to_json().unwrap_or_default()
}

/// Makes every property of an answer a required one. What requests are made of
/// is known by its being closed.
fn require_all(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) if object.additional_properties.is_none() => {
            let all: BTreeSet<String> = object.properties.keys().cloned().collect();
            object.required = all.into_iter().collect();
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().for_each(require_all),
        _ => {}
    }
}

/// A derive closes a struct, and leaves the variants of an enum open.
fn close_variants(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::OneOf(one_of)) = schema else { return };
    for item in &mut one_of.items {
        if let RefOr::T(Schema::Object(object)) = item {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

/// A body that may be left out is derived as one that may be `null`.
fn leave_out_body(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    // Whatever comes to a webhook is a delivery, nothing at all too.
    let bare = operation.operation_id.as_deref() == Some("deliverWebhook");
    body.required = Some(if bare { Required::False } else { Required::True });
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        if let Some(RefOr::T(Schema::OneOf(one_of))) = &content.schema {
            let sent = one_of.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned();
            content.schema = sent;
            body.required = Some(Required::False);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

/// Every answer names its request.
fn name_requests(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            let id = HeaderBuilder::new()
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                .description(Some("The id of the request."));
            response.headers.insert("X-Request-Id".to_owned(), RefOr::T(id.build()));
        }
    }
}

//! The OpenAPI description, put together from the routes.

use std::collections::BTreeSet;

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr, Schema};

/// What the description says of the whole API.
const INTRODUCTION: &str = "\
Schedule a job, and it runs, is retried, is dead-lettered, and can always say what happened and why.

Everything is JSON in UTF-8. Times are RFC 3339, in answers always UTC with microseconds. Unknown fields, unknown \
query parameters and doubled keys are refused. Nesting goes 64 deep, a body has at most 1,048,576 bytes (a batch, \
or a report of a worker, 16,777,216), a payload or a result 262,144.

Errors are RFC 9457 problems: `code` is for programs and stable, and `errors` names everything that is wrong with \
a request at once. `X-Request-Id` is taken from the request, or made, and comes back with every answer.";

/// The request bodies: their schemas are closed already. All others are
/// answers, which hold every property every time.
const REQUESTS: [&str; 19] = [
    "AttemptError",
    "BatchJob",
    "BatchRequest",
    "BulkFilter",
    "BulkRequest",
    "CancelRequest",
    "ClaimRequest",
    "CompleteItem",
    "CompleteRequest",
    "EditRequest",
    "FailItem",
    "FailRequest",
    "HeartbeatItem",
    "HeartbeatRequest",
    "JobRequest",
    "PauseRequest",
    "QueueRequest",
    "RetryPolicy",
    "TenantRequest",
];

/// The description's frame; the routes fill it.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "TaskFlow", license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")),
    tags(
        (name = "jobs", description = "Submitting jobs, looking at them, acting on them"),
        (name = "workers", description = "Workers on the network, which pull their jobs"),
        (name = "queues", description = "Queues: limits, holds, depth"),
        (name = "tenants", description = "Tenants: share, limits, attributes"),
    ),
    components(schemas(taskflow_protocol::Problem, taskflow_protocol::JobState, taskflow_protocol::JobPriority))
)]
pub(super) struct Frame;

/// The finished description, as JSON.
pub(super) fn document(mut api: OpenApi) -> String {
    api.info.description = Some(INTRODUCTION.to_owned());
    env!("CARGO_PKG_VERSION").clone_into(&mut api.info.version);
    if let Some(components) = &mut api.components {
        let answers = components.schemas.iter_mut().filter(|(name, _)| !REQUESTS.contains(&name.as_str()));
        answers.for_each(|(_, schema)| require_all(schema));
    }
    for item in api.paths.paths.values_mut() {
        operations(item).for_each(name_requests);
    }
    api.to_json().unwrap_or_default()
}

/// Makes every property of an answer a required one.
fn require_all(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            let all: BTreeSet<String> = object.properties.keys().cloned().collect();
            object.required = all.into_iter().collect();
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().for_each(require_all),
        _ => {}
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

//! What the OpenAPI description says of problems.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr};

use crate::rest::problem::{Code, Problem};

/// The problems that any request may meet.
const ANY: [Code; 11] = [
    Code::RateLimited,
    Code::Suspended,
    Code::Unauthenticated,
    Code::Forbidden,
    Code::Invalid,
    Code::UriTooLong,
    Code::HeadersTooLarge,
    Code::Internal,
    Code::Unavailable,
    Code::Overloaded,
    Code::StorageFull,
];

/// The problems that a body may bring about.
const BODY: [Code; 4] =
    [Code::MalformedJson, Code::RequestTimeout, Code::BodyTooLarge, Code::UnsupportedMediaType];

fn problem_responses(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for &code in codes {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status.to_string(), problem_response(&codes).into()))
        .collect()
}

fn problem_response(codes: &[Code]) -> Response {
    let told: Vec<_> = codes.iter().map(|code| format!("{} (`{}`)", code.title(), code.word())).collect();
    let examples = codes.iter().map(|&code| {
        let document = Problem::new(code, code.title()).to_wire("6d1e4ed1f6f34f34");
        let value = serde_json::to_value(document).unwrap_or_default();
        (code.word(), ExampleBuilder::new().summary(code.title()).value(Some(value)))
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build();
    let mut response =
        ResponseBuilder::new().description(told.join(" · ")).content("application/problem+json", content);
    if codes
        .iter()
        .any(|code| code.status().is_server_error() || code.status() == 429 || code.status() == 409)
    {
        let seconds = HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1))))
            .description(Some("Where it is there, a repeat may succeed after so many seconds."));
        response = response.header("Retry-After", seconds.build());
    }
    response.build()
}

macro_rules! problems {
    ($(#[$doc:meta])* $name:ident: $($codes:expr),+) => {
        $(#[$doc])*
        pub(in crate::rest) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                let lists: &[&[Code]] = &[&ANY, $($codes),+];
                problem_responses(&lists.concat())
            }
        }
    };
}

problems!(
    /// Of lists.
    ListProblems: &[]
);
problems!(
    /// Of looking at one thing.
    LookProblems: &[Code::NotFound]
);
problems!(
    /// Of submitting a job.
    SubmitProblems: &BODY,
    &[Code::NotFound, Code::KeyInFlight, Code::UnknownParent, Code::Contended],
    &[Code::KeyReused, Code::BacklogFull, Code::QueueDraining]
);
problems!(
    /// Of submitting many jobs.
    BatchProblems: &BODY,
    &[Code::NotFound, Code::UnknownParent, Code::Contended],
    &[
        Code::KeyReused,
        Code::DependenciesUnavailable,
        Code::BacklogFull,
        Code::QueueDraining
    ]
);
problems!(
    /// Of acting on a job.
    ActProblems: &BODY,
    &[Code::NotFound, Code::IllegalTransition, Code::Contended, Code::BacklogFull]
);
problems!(
    /// Of acting on many jobs, and of what workers ask and tell.
    BulkProblems: &BODY, &[Code::NotFound, Code::BacklogFull]
);
problems!(
    /// Of setting something of one thing.
    SetProblems: &BODY,
    &[Code::NotFound]
);
problems!(
    /// Of rotating a key.
    RotateProblems: &BODY,
    &[Code::NotFound, Code::KeysCrowded]
);
problems!(
    /// Of making a rule.
    RuleProblems: &BODY,
    &[Code::NotFound, Code::Contended, Code::WebhookKeyTaken, Code::SecretsUnavailable],
    &[Code::TooManyRules]
);
problems!(
    /// Of changing a rule, and of rehearsing it.
    SetRuleProblems: &BODY,
    &[Code::NotFound, Code::Contended, Code::WebhookKeyTaken, Code::SecretsUnavailable],
    &[Code::WrongTrigger]
);
problems!(
    /// Of starting a rule by hand.
    StartProblems: &BODY,
    &[Code::NotFound, Code::Contended, Code::KeyReused, Code::RuleDisabled, Code::WrongTrigger]
);
problems!(
    /// Of what only rules with one kind of trigger have.
    WrongTriggerProblems: &[Code::NotFound, Code::WrongTrigger]
);
problems!(
    /// Of delivering a webhook.
    DeliverProblems: &[Code::NotFound, Code::BadSignature, Code::RequestTimeout, Code::BodyTooLarge],
    &[Code::SecretsUnavailable]
);

//! API keys over HTTP.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use taskflow_application::keys::{KeyWish, MadeKey, Renewal};
use taskflow_domain::{ApiKey, KeyId, Scope, Scopes, TenantSlug, Timestamp};
use taskflow_protocol::{self as wire, Time};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::body::{Body, MAX_BODY};
use super::describe::{
    KeyListParams, KeyParam, ListProblems, LookProblems, PageParams, RotateProblems, SetProblems,
};
use super::extract::{Answer, Asker, NamePath, Operator, detached};
use super::fault::{Faults, Path};
use super::json::{Object, Value, decode};
use super::page::{List, Wanted};
use super::problem::{Code, Problem};
use super::query::{NoQuery, Query};
use super::queues::rate;

/// A name has at most this many characters.
const MAX_NAME: usize = 100;
/// An old key stays good for a day after it was rotated, if nobody says, and
/// for at most 30, in milliseconds.
const OLD_MS: u64 = 86_400_000;
const MAX_OLD_MS: u64 = 30 * 86_400_000;

const SCOPES: &[(&str, Scope)] = &[
    ("jobs:read", Scope::JobsRead),
    ("jobs:write", Scope::JobsWrite),
    ("rules:read", Scope::RulesRead),
    ("rules:write", Scope::RulesWrite),
    ("worker", Scope::Worker),
    ("operator", Scope::Operator),
];

/// The routes. Each call of `routes!` is one path.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_keys, make_key))
        .routes(routes!(get_key, revoke_key))
        .routes(routes!(rotate_key))
}

fn key(key: &ApiKey) -> wire::ApiKey {
    wire::ApiKey {
        id: key.id.0,
        family: key.family.0,
        name: key.name.clone(),
        tenant: key.tenant.as_ref().map(|(_, slug)| slug.as_str().to_owned()),
        scopes: key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        rate_limit: key.rate.map(|rate| wire::Rate { limit: rate.limit, period_ms: rate.period_ms }),
        created_at: Time(key.created_at),
        created_by: key.created_by.as_str().to_owned(),
        expires_at: key.expires_at.map(Time),
        revoked_at: key.revoked_at.map(Time),
        last_used_at: key.last_used_at.map(Time),
    }
}

fn made(made: &MadeKey) -> Response {
    let location = format!("/v1/admin/api-keys/{}", made.key.id);
    let answer = Answer(wire::MadeApiKey { key: made.text.clone(), api_key: key(&made.key) });
    (StatusCode::CREATED, [(header::LOCATION, location)], answer).into_response()
}

/// What is no id names no key.
fn id_of(NamePath(text): &NamePath) -> Result<KeyId, Problem> {
    decode::hyphenated(text).map(KeyId).ok_or_else(|| Problem::not_found("key"))
}

/// List API keys
///
/// The newest first, live or not. Their texts are not kept.
#[utoipa::path(
    get,
    path = "/v1/admin/api-keys",
    operation_id = "listApiKeys",
    tag = "keys",
    security(("key" = ["operator"])),
    params(KeyListParams, PageParams),
    responses((status = 200, description = "The keys.", body = wire::ApiKeyList), ListProblems)
)]
async fn list_keys(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    mut query: Query,
) -> Result<Answer<wire::ApiKeyList>, Problem> {
    let tenant = query.one("tenant", TenantSlug::new);
    let list = List::new("api_keys", &tenant);
    let Wanted { after, limit } = Wanted::<KeyId>::read(&mut query, &list);
    query.close()?;
    let work = async move { state.keys.list(tenant.as_ref(), after, limit + 1).await };
    let mut keys = detached(work).await??.unwrap_or_default();
    let more = keys.len() > limit as usize;
    keys.truncate(limit as usize);
    let next_cursor = keys.last().filter(|_| more).map(|last| list.cursor(&last.id));
    Ok(Answer(wire::ApiKeyList { items: keys.iter().map(key).collect(), next_cursor }))
}

/// Look at an API key
#[utoipa::path(
    get,
    path = "/v1/admin/api-keys/{id}",
    operation_id = "getApiKey",
    tag = "keys",
    security(("key" = ["operator"])),
    params(KeyParam),
    responses((status = 200, description = "The key.", body = wire::ApiKey), LookProblems)
)]
async fn get_key(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    id: NamePath,
    _: NoQuery,
) -> Result<Answer<wire::ApiKey>, Problem> {
    let id = id_of(&id)?;
    let found = detached(async move { state.keys.get(id).await }).await??;
    found.as_ref().map(key).map(Answer).ok_or_else(|| Problem::not_found("key"))
}

fn name_of(text: &str) -> Result<String, &'static str> {
    let good = (1..=MAX_NAME).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if good { Ok(text.to_owned()) } else { Err("must have 1 to 100 characters, none of them a control") }
}

fn wish(value: Value<'_>, faults: &mut Faults, now: Timestamp) -> Option<KeyWish> {
    let scope =
        |value: Value<'_>, path: &Path<'_>, faults: &mut Faults| decode::choice(SCOPES)(value, path, faults);
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let name = object.required("name", decode::made(name_of));
    let tenant = object.optional("tenant", decode::made(TenantSlug::new));
    let scopes = object.required("scopes", decode::list(1..=SCOPES.len(), scope));
    let rate = object.optional("rate_limit", rate);
    let expires_at = object.optional("expires_at", decode::time_after(now));
    let scopes: Scopes = scopes.unwrap_or_default().into_iter().collect();
    if tenant.is_some() && scopes.operator() {
        object.fault("scopes", "a tenant's key is no operator's");
    }
    if tenant.is_none() && !scopes.is_empty() && scopes != Scopes::OPERATOR {
        object.fault("tenant", "must be named, unless the only scope is operator");
    }
    object.close();
    Some(KeyWish { name: name?, tenant, scopes, rate, expires_at })
}

/// Make an API key
///
/// The answer holds its text, which is shown this once. A key is for one tenant,
/// or an operator's, which names none.
#[utoipa::path(
    post,
    path = "/v1/admin/api-keys",
    operation_id = "makeApiKey",
    tag = "keys",
    security(("key" = ["operator"])),
    request_body = wire::ApiKeyRequest,
    responses(
        (status = 201, description = "The key, with its text.", body = wire::MadeApiKey,
         headers(("Location" = String, description = "Where the key is, without its text."))),
        SetProblems,
    )
)]
async fn make_key(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<Operator>,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Response, Problem> {
    let now = state.queues.now();
    let wish = body.read(|value, faults| wish(value, faults, now))?;
    let work = async move { state.keys.make(&caller, wish).await };
    detached(work).await??.as_ref().map(made).ok_or_else(|| Problem::not_found("tenant"))
}

#[derive(Default)]
struct Rotation {
    old_for_ms: Option<u64>,
    expires_at: Option<Timestamp>,
}

fn rotation(value: Value<'_>, faults: &mut Faults, now: Timestamp) -> Option<Rotation> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let rotation = Rotation {
        old_for_ms: object.optional("old_for_ms", decode::whole(0..=MAX_OLD_MS)),
        expires_at: object.optional("expires_at", decode::time_after(now)),
    };
    object.close();
    Some(rotation)
}

/// Rotate an API key
///
/// Makes a key like it, and has the old one end by itself: until then both are
/// good. Of one family, which is all keys that came of one another by rotation, two
/// are good at most: where a third would be, nothing is done. The body may be left out.
#[utoipa::path(
    post,
    path = "/v1/admin/api-keys/{id}/rotate",
    operation_id = "rotateApiKey",
    tag = "keys",
    security(("key" = ["operator"])),
    params(KeyParam),
    request_body = Option<wire::RotateRequest>,
    responses(
        (status = 201, description = "The new key, with its text.", body = wire::MadeApiKey,
         headers(("Location" = String, description = "Where the key is, without its text."))),
        RotateProblems,
    )
)]
async fn rotate_key(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<Operator>,
    id: NamePath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Response, Problem> {
    let id = id_of(&id)?;
    let now = state.queues.now();
    let Rotation { old_for_ms, expires_at } =
        body.read_if_sent(|value, faults| rotation(value, faults, now))?;
    let old_for_ms = i64::try_from(old_for_ms.unwrap_or(OLD_MS)).unwrap_or(i64::MAX);
    let work = async move {
        let old_ends = state.queues.now().plus_millis(old_for_ms);
        state.keys.rotate(&caller, id, old_ends, expires_at).await
    };
    match detached(work).await?? {
        Renewal::Made(key) => Ok(made(&key)),
        Renewal::Gone => Err(Problem::not_found("live key")),
        Renewal::Crowded(other) => Err(crowded(&other)),
    }
}

fn crowded(other: &ApiKey) -> Problem {
    let end = match other.expires_at {
        Some(end) => format!("is good until {end}: revoke it, or wait until then"),
        None => "is good as well: revoke the one that is not needed".to_owned(),
    };
    let detail = format!("two keys of the family are good at once, and no third; the key {} {end}", other.id);
    Problem::new(Code::KeysCrowded, detail)
}

/// Revoke an API key
///
/// When the answer arrives it opens nothing any more, in any process. It stays
/// in the list.
#[utoipa::path(
    delete,
    path = "/v1/admin/api-keys/{id}",
    operation_id = "revokeApiKey",
    tag = "keys",
    security(("key" = ["operator"])),
    params(KeyParam),
    responses((status = 200, description = "The key.", body = wire::ApiKey), LookProblems)
)]
async fn revoke_key(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<Operator>,
    id: NamePath,
    _: NoQuery,
) -> Result<Answer<wire::ApiKey>, Problem> {
    let id = id_of(&id)?;
    let revoked = detached(async move { state.keys.revoke(&caller, id).await }).await??;
    revoked.as_ref().map(key).map(Answer).ok_or_else(|| Problem::not_found("key"))
}

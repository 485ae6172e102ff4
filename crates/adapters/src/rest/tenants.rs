//! Tenants over HTTP.

use axum::extract::State;
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{Json, TenantSlug};
use taskflow_protocol::{self as wire, Time};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::body::{Body, MAX_BODY};
use super::describe::{ListProblems, LookProblems, PageParams, SetProblems, TenantParam};
use super::extract::{Answer, Asker, NamePath, Operator, detached};
use super::fault::{Faults, Path, Place};
use super::json::{Object, Shape, Value, decode};
use super::page::{List, Wanted};
use super::problem::{Code, Problem};
use super::query::{NoQuery, Query};
use super::queues::rate;

/// Attributes have at most this many bytes.
const MAX_ATTRIBUTES: usize = 16 * 1024;
/// A tenant's share is at most this.
const MAX_WEIGHT: u64 = 1_000;
/// At most so many jobs of a tenant run at once, and so many wait.
const MAX_RUNNING: u64 = 1_000_000;
const MAX_BACKLOG: u64 = 1_000_000_000;

/// The routes. Each call of `routes!` is one path.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list_tenants)).routes(routes!(get_tenant, put_tenant))
}

fn tenant(tenant: &Tenant) -> wire::Tenant {
    wire::Tenant {
        slug: tenant.slug.as_str().to_owned(),
        attributes: tenant.settings.attributes.to_value(),
        weight: tenant.settings.weight,
        max_running: tenant.settings.max_running,
        max_backlog: tenant.settings.max_backlog,
        request_rate: tenant
            .settings
            .request_rate
            .map(|rate| wire::Rate { limit: rate.limit, period_ms: rate.period_ms }),
        paused: tenant.settings.paused,
        suspended: tenant.settings.suspended,
        created_at: Time(tenant.created_at),
        updated_at: Time(tenant.updated_at),
    }
}

/// What is no slug names no tenant.
fn slug_of(NamePath(text): &NamePath) -> Result<TenantSlug, Problem> {
    TenantSlug::new(text).map_err(|_| Problem::not_found("tenant"))
}

/// List tenants
///
/// By slug.
#[utoipa::path(
    get,
    path = "/v1/admin/tenants",
    operation_id = "listTenants",
    tag = "tenants",
    security(("key" = ["operator"])),
    params(PageParams),
    responses((status = 200, description = "The tenants.", body = wire::TenantList), ListProblems)
)]
async fn list_tenants(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    mut query: Query,
) -> Result<Answer<wire::TenantList>, Problem> {
    let list = List::new("tenants", &());
    let Wanted { after, limit } = Wanted::<TenantSlug>::read(&mut query, &list);
    query.close()?;
    let work = async move { state.tenants.list(after.as_ref(), limit + 1).await };
    let mut tenants = detached(work).await??;
    let more = tenants.len() > limit as usize;
    tenants.truncate(limit as usize);
    let next_cursor = tenants.last().filter(|_| more).map(|last| list.cursor(&last.slug));
    Ok(Answer(wire::TenantList { items: tenants.iter().map(tenant).collect(), next_cursor }))
}

/// Look at a tenant
#[utoipa::path(
    get,
    path = "/v1/admin/tenants/{slug}",
    operation_id = "getTenant",
    tag = "tenants",
    security(("key" = ["operator"])),
    params(TenantParam),
    responses((status = 200, description = "The tenant.", body = wire::Tenant), LookProblems)
)]
async fn get_tenant(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    slug: NamePath,
    _: NoQuery,
) -> Result<Answer<wire::Tenant>, Problem> {
    let slug = slug_of(&slug)?;
    let found = detached(async move { state.tenants.get(&slug).await }).await??;
    found.as_ref().map(tenant).map(Answer).ok_or_else(|| Problem::not_found("tenant"))
}

fn attributes(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<Json> {
    match value.shape() {
        Shape::Object(_) => decode::document(MAX_ATTRIBUTES)(value, path, faults),
        other => {
            faults.at(path, format!("must be an object, not {}", other.name()));
            None
        }
    }
}

fn wish(value: Value<'_>, faults: &mut Faults) -> Option<TenantSettings> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let settings = TenantSettings {
        attributes: object.optional("attributes", attributes).unwrap_or_else(Json::object),
        weight: object.optional("weight", decode::whole(1..=MAX_WEIGHT)).unwrap_or(1) as u32,
        max_running: object.optional("max_running", decode::whole(1..=MAX_RUNNING)).map(|n| n as u32),
        max_backlog: object.optional("max_backlog", decode::whole(0..=MAX_BACKLOG)).map(|n| n as u32),
        request_rate: object.optional("request_rate", rate),
        paused: object.optional("paused", decode::boolean).unwrap_or(false),
        suspended: object.optional("suspended", decode::boolean).unwrap_or(false),
    };
    object.close();
    Some(settings)
}

/// Set a tenant's share, limits and attributes
///
/// All of them: what is left out has its default. The tenant is made if it does
/// not exist. When the answer arrives, no job starts against the new limits.
#[utoipa::path(
    put,
    path = "/v1/admin/tenants/{slug}",
    operation_id = "putTenant",
    tag = "tenants",
    security(("key" = ["operator"])),
    params(TenantParam),
    request_body = wire::TenantRequest,
    responses((status = 200, description = "The tenant.", body = wire::Tenant), SetProblems)
)]
async fn put_tenant(
    State(state): State<ApiState>,
    Asker(caller, ..): Asker<Operator>,
    slug: NamePath,
    _: NoQuery,
    body: Body<MAX_BODY>,
) -> Result<Answer<wire::Tenant>, Problem> {
    // What is made must have a name that one can have.
    let slug = TenantSlug::new(&slug.0)
        .map_err(|error| Problem::at(Code::Invalid, Place::Segment("slug"), error.to_string()))?;
    let settings = body.read(wish)?;
    let put = detached(async move { state.tenants.put(&caller, &slug, &settings).await }).await??;
    Ok(Answer(tenant(&put)))
}

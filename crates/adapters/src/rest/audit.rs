//! The audit over HTTP.

use axum::extract::State;
use taskflow_application::ports::{AuditEntry, AuditFilter};
use taskflow_domain::{Json, TenantSlug, Timestamp};
use taskflow_protocol::{self as wire, Time};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::describe::{AuditParams, ListProblems, PageParams};
use super::extract::{Answer, Asker, Operator, detached};
use super::page::{List, Wanted};
use super::problem::Problem;
use super::query::Query;

/// A parameter has at most this many characters.
const MAX_TEXT: usize = 255;

/// The routes.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list_audit))
}

fn entry(entry: &AuditEntry) -> wire::AuditEntry {
    let note = &entry.note;
    wire::AuditEntry {
        seq: entry.seq,
        at: Time(note.at),
        actor: note.actor.as_str().to_owned(),
        tenant: note.tenant.as_ref().map(|slug| slug.as_str().to_owned()),
        action: note.action.clone(),
        object: note.object.clone(),
        reason: note.reason.clone(),
        before: note.before.as_ref().map(Json::to_value),
        after: note.after.as_ref().map(Json::to_value),
        request_id: note.request_id.clone(),
        prev_hash: entry.before.to_string(),
        hash: entry.seal.to_string(),
    }
}

fn text(text: &str) -> Result<String, String> {
    if text.chars().count() <= MAX_TEXT {
        Ok(text.to_owned())
    } else {
        Err(format!("must have at most {MAX_TEXT} characters"))
    }
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse_rfc3339(text).ok_or("must be an RFC 3339 time, such as 2026-01-31T09:30:00Z")
}

/// Read the audit
///
/// What was done by whom, the newest first: every change that somebody made of
/// tenants, keys, queues and rules, and every act on a job after its submit.
#[utoipa::path(
    get,
    path = "/v1/admin/audit",
    operation_id = "listAudit",
    tag = "audit",
    security(("key" = ["operator"])),
    params(AuditParams, PageParams),
    responses((status = 200, description = "The entries.", body = wire::AuditList), ListProblems)
)]
async fn list_audit(
    State(state): State<ApiState>,
    _: Asker<Operator>,
    mut query: Query,
) -> Result<Answer<wire::AuditList>, Problem> {
    let filter = AuditFilter {
        actor: query.one("actor", text),
        tenant: query.one("tenant", TenantSlug::new),
        action: query.one("action", text),
        object: query.one("object", text),
        since: query.one("since", time),
        until: query.one("until", time),
    };
    let list = List::new("audit", &filter);
    let Wanted { after, limit } = Wanted::<u64>::read(&mut query, &list);
    query.close()?;
    let work = async move { state.audit.list(&filter, after, limit + 1).await };
    let mut entries = detached(work).await??;
    let more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let next_cursor = entries.last().filter(|_| more).map(|last| list.cursor(&last.seq));
    Ok(Answer(wire::AuditList { items: entries.iter().map(entry).collect(), next_cursor }))
}

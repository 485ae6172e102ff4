//! Who asks, about what, and the form of an answer.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use taskflow_application::Caller;
use taskflow_domain::{Actor, JobId, TenantSlug};

use super::fault::Place;
use super::json::decode;
use super::problem::{Code, Problem};

/// The header that names the tenant.
pub(crate) const TENANT: &str = "Taskflow-Tenant";

/// Who asks.
pub(crate) struct Asker(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let refuse = |detail: String| Problem::at(Code::Invalid, Place::Header(TENANT), detail);
        let mut values = parts.headers.get_all(TENANT).iter();
        let slug = match (values.next(), values.next()) {
            (None, _) => TenantSlug::fallback(),
            (Some(_), Some(_)) => return Err(refuse("must occur once".to_owned())),
            (Some(value), None) => {
                let text = value.to_str().map_err(|_| refuse("must be ASCII".to_owned()))?;
                TenantSlug::new(text).map_err(|error| refuse(error.to_string()))?
            }
        };
        tracing::Span::current().record("tenant.id", slug.as_str());
        Ok(Self(Caller { slug, actor: Actor::api(), makes_tenant: true }))
    }
}

async fn path_value<S: Send + Sync>(parts: &mut Parts, state: &S) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, state).await.ok()?;
    params.iter().next().map(|(_, value)| value.to_owned())
}

/// The job of the path. What is no id names no job.
pub(crate) struct JobPath(pub(crate) JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let value = path_value(parts, state).await;
        let id = value.as_deref().and_then(decode::hyphenated);
        id.map(|id| Self(JobId(id))).ok_or_else(|| Problem::not_found("job"))
    }
}

/// The name at the end of the path, unchecked.
pub(crate) struct NamePath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        path_value(parts, state).await.map(Self).ok_or_else(|| Problem::not_found("name"))
    }
}

/// Does `work` to its end even if the client goes away meanwhile: a write that
/// is dropped halfway could leave a connection inside its transaction.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Problem> {
    use tracing::Instrument;
    tokio::spawn(work.in_current_span()).await.map_err(|error| Problem::internal(&error))
}

/// An answer in JSON.
pub(crate) struct Answer<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(document) => ([(header::CONTENT_TYPE, "application/json")], document).into_response(),
            Err(error) => Problem::internal(&error).into_response(),
        }
    }
}

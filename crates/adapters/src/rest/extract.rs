//! Who asks, about what, and the form of an answer.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use taskflow_application::Caller;
use taskflow_application::access::{Admitted, Denied, Peer, Presented, Quota};
use taskflow_domain::{JobId, Scope, TenantSlug};

use super::ApiState;
use super::context::{Quotas, RequestId};
use super::fault::Place;
use super::json::decode;
use super::problem::{Code, Problem};
use super::server::ConnectedPeer;

/// The header that names the tenant.
pub(crate) const TENANT: &str = "Taskflow-Tenant";

/// The header that says why something is done.
pub(crate) const REASON: &str = "Taskflow-Reason";
/// A reason has at most this many characters.
const MAX_REASON: usize = 1_000;

/// What a route needs its caller to be allowed.
pub(crate) trait Needs {
    /// The scope.
    const SCOPE: Scope;
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        pub(crate) enum $name {}

        impl Needs for $name {
            const SCOPE: Scope = Scope::$name;
        }

        const _: Scope = <$name as Needs>::SCOPE;
    )*};
}

needs! {
    /// Looking at jobs.
    JobsRead
    /// Submitting jobs and acting on them.
    JobsWrite
    /// Looking at rules.
    RulesRead
    /// Saving rules and acting on them.
    RulesWrite
    /// Claiming jobs and reporting their ends.
    Worker
    /// Everything, for every tenant.
    Operator
}

/// Who asks, and that it may do what the route needs. It stands first among a
/// handler's arguments: whoever may not ask hears nothing else.
pub(crate) struct Asker<S>(pub(crate) Caller, pub(crate) PhantomData<S>);

impl<S: Needs> FromRequestParts<ApiState> for Asker<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let request_id = parts.extensions.get::<RequestId>().map_or_else(|| Arc::from(""), |id| id.0.clone());
        let presented = Presented {
            peer: parts.extensions.get::<ConnectedPeer>().map(|peer| Peer::from(peer.0)),
            key: bearer(&parts.headers),
            tenant: tenant(&parts.headers)?,
            request_id,
            reason: reason(&parts.headers)?,
        };
        let admitted = state.access.admit(presented).await;
        let known = parts.extensions.get::<Quotas>();
        let Admitted { caller, .. } =
            admitted.inspect(|admitted| note(known, &admitted.quotas)).inspect_err(|denied| {
                if let Denied::Exhausted { quotas, .. } = denied {
                    note(known, quotas);
                }
            })?;
        tracing::Span::current().record("tenant.id", caller.slug.as_str());
        if !caller.may(S::SCOPE) {
            let detail = format!("the key may not do this: it lacks the scope {}", S::SCOPE);
            return Err(Problem::new(Code::Forbidden, detail));
        }
        if caller.suspended && matches!(S::SCOPE, Scope::JobsWrite | Scope::RulesWrite) {
            return Err(Problem::new(Code::Suspended, "the tenant is suspended: its keys may only look"));
        }
        Ok(Self(caller, PhantomData))
    }
}

/// The tenant that the header names, if it names one: for lists of all tenants that
/// can be had of one.
pub(crate) struct Named(pub(crate) Option<TenantSlug>);

impl<S: Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        tenant(&parts.headers).map(Self)
    }
}

fn note(known: Option<&Quotas>, quotas: &[Quota]) {
    if let Some(known) = known {
        known.note(quotas);
    }
}

/// The key of `Authorization: Bearer KEY`. What is not of that form is a key
/// that opens nothing.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return Some("") };
    let (scheme, key) = value.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
    Some(if scheme.eq_ignore_ascii_case("bearer") { key.trim() } else { "" })
}

/// The one value of a header, as `read` reads it.
fn one<T>(
    headers: &HeaderMap,
    name: &'static str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Problem> {
    let refuse = |detail: String| Problem::at(Code::Invalid, Place::Header(name.into()), detail);
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(refuse("must occur once".to_owned())),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| refuse("must be ASCII".to_owned()))?;
            read(text).map(Some).map_err(refuse)
        }
    }
}

fn tenant(headers: &HeaderMap) -> Result<Option<TenantSlug>, Problem> {
    one(headers, TENANT, |text| TenantSlug::new(text).map_err(|error| error.to_string()))
}

fn reason(headers: &HeaderMap) -> Result<Option<Arc<str>>, Problem> {
    one(headers, REASON, |text| match text.len() {
        0..=MAX_REASON => Ok(text.into()),
        _ => Err(format!("must have at most {MAX_REASON} characters")),
    })
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let detail = denied.to_string();
        match denied {
            Denied::NoKey | Denied::BadKey => Self::new(Code::Unauthenticated, detail),
            Denied::OtherTenant => Self::new(Code::Forbidden, detail),
            Denied::Exhausted { retry_after_s, .. } | Denied::TooManyFailures { retry_after_s } => {
                Self::new(Code::RateLimited, detail).after(retry_after_s)
            }
            Denied::Store(error) => error.into(),
        }
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

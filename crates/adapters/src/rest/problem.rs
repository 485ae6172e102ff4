//! Every error of the API: RFC 9457, with a stable code, and never a message
//! from the inside. What only an operator may know goes to the log, once, here.

mod code;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use taskflow_application::automation::{AutomationError, RuleFault};
use taskflow_application::jobs::JobsError;
use taskflow_application::ports::{NamedIn, StoreError};
use taskflow_protocol as wire;

pub(crate) use code::Code;

use super::fault::{Asked, Fault, Faults, IDEMPOTENCY_KEY, Path, Place};

/// Why a request was not done. As a response it is empty until the context
/// layer, which knows the request's id, writes it out.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    faults: Vec<Fault>,
    retry_after: Option<u32>,
}

impl Problem {
    /// A problem of kind `code`, told as `detail`.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), faults: Vec::new(), retry_after: None }
    }

    /// A problem at one place of the request.
    pub(crate) fn at(code: Code, place: Place, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let fault = Fault { place, detail: detail.clone() };
        Self { faults: vec![fault], ..Self::new(code, detail) }
    }

    /// A request with faults.
    pub(crate) fn invalid(faults: Faults) -> Self {
        Self::with_faults(Code::Invalid, faults)
    }

    /// A request with faults, of the kind `code`.
    pub(crate) fn with_faults(code: Code, faults: Faults) -> Self {
        let (faults, untold) = faults.into_parts();
        let detail = match (faults.as_slice(), untold) {
            ([only], 0) => format!("one thing is wrong: {}", only.detail),
            (all, 0) => format!("{} things are wrong", all.len()),
            (all, untold) => {
                format!("{} things are wrong; the first {} are listed", all.len() + untold, all.len())
            }
        };
        Self { faults, ..Self::new(code, detail) }
    }

    /// The same, where a repeat may succeed after so many seconds.
    pub(crate) fn after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// No such thing, or one of another tenant: nobody can tell which.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// A failure of the server itself. `cause` is logged and not told.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error.message = %cause, "request failed");
        Self::new(Code::Internal, "the server failed; its log says more, under the id of this request")
    }

    /// As it goes over the wire.
    pub(crate) fn to_wire(&self, request_id: &str) -> wire::Problem {
        let errors = self.faults.iter().map(|fault| {
            let (place, pointer) = match &fault.place {
                Place::Body(pointer) => (wire::ProblemPlace::Body, pointer.clone()),
                Place::Query(name) => (wire::ProblemPlace::Query, Path::ROOT.key(name).pointer()),
                Place::Header(name) => (wire::ProblemPlace::Header, Path::ROOT.key(name).pointer()),
                Place::Segment(name) => (wire::ProblemPlace::Path, Path::ROOT.key(name).pointer()),
            };
            wire::ProblemError { detail: fault.detail.clone(), pointer, place }
        });
        wire::Problem {
            kind: format!("urn:taskflow:problem:{}", self.code.word()),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            detail: self.detail.clone(),
            instance: format!("urn:taskflow:request:{request_id}"),
            code: self.code.word().to_owned(),
            errors: errors.collect(),
        }
    }

    /// The problem of a use case about jobs; `asked` says how its request names a job.
    pub(crate) fn of_jobs(error: JobsError, asked: Asked) -> Self {
        let field = |index: usize, field: &str| {
            let jobs = Path::ROOT.key("jobs");
            let job = jobs.index(index);
            let parent = if asked == Asked::Many { &job } else { &Path::ROOT };
            Place::Body(parent.key(field).pointer())
        };
        let detail = error.to_string();
        match error {
            JobsError::Store(error) => error.into(),
            JobsError::NotFound => Self::not_found("job"),
            JobsError::UnknownTenant => Self::not_found("tenant"),
            JobsError::Refused(_) => Self::new(Code::IllegalTransition, detail),
            JobsError::KeyReused { index } => {
                let place = match asked {
                    Asked::OneByHeader => Place::Header(IDEMPOTENCY_KEY.into()),
                    Asked::One | Asked::Many => field(index, "idempotency_key"),
                };
                Self::at(Code::KeyReused, place, detail)
            }
            JobsError::UnknownParent { index } => {
                Self::at(Code::UnknownParent, field(index, "parent_job_id"), detail)
            }
            JobsError::QueueDraining { index, .. } => {
                Self::at(Code::QueueDraining, field(index, "queue"), detail)
            }
            JobsError::InFlight => Self { retry_after: Some(1), ..Self::new(Code::KeyInFlight, detail) },
            JobsError::BacklogFull { .. } => {
                Self { retry_after: Some(5), ..Self::new(Code::BacklogFull, detail) }
            }
            JobsError::Suspended => Self::new(Code::Suspended, detail),
            JobsError::Contended => Self { retry_after: Some(1), ..Self::new(Code::Contended, detail) },
        }
    }
}

impl Problem {
    /// The problem of a use case about rules; `what` is what is not there if
    /// something is not there.
    pub(crate) fn of_automation(error: AutomationError, what: &str) -> Self {
        let detail = error.to_string();
        match error {
            AutomationError::Store(error) => error.into(),
            AutomationError::NotFound => Self::not_found(what),
            AutomationError::UnknownTenant => Self::not_found("tenant"),
            AutomationError::Invalid(found) => Self::with_faults(Code::Invalid, noted(found)),
            AutomationError::KeepsLostCredentials(found) => {
                Self { detail, ..Self::with_faults(Code::SecretsUnavailable, noted(found)) }
            }
            AutomationError::Forbidden(_) => Self::new(Code::Forbidden, detail),
            AutomationError::KeyTaken => {
                Self::at(Code::WebhookKeyTaken, Place::Body("#/trigger/key".to_owned()), detail)
            }
            AutomationError::SecretLost => Self::new(Code::SecretsUnavailable, detail),
            AutomationError::NoVault | AutomationError::KeepsLost => {
                let place = Place::Body("#/trigger/signature/secret".to_owned());
                Self::at(Code::SecretsUnavailable, place, detail)
            }
            AutomationError::Disabled => Self::new(Code::RuleDisabled, detail),
            AutomationError::WrongTrigger(_) => Self::new(Code::WrongTrigger, detail),
            AutomationError::BadSignature(_) => Self::new(Code::BadSignature, detail),
            AutomationError::BadDeliveryId { place, .. } => {
                let place = match place {
                    NamedIn::Header(name) => Place::Header(name.into()),
                    NamedIn::Field(key) => Place::Body(Path::ROOT.key(key).pointer()),
                };
                Self::at(Code::Invalid, place, detail)
            }
            AutomationError::Exhausted { retry_after_s, .. } => {
                Self::new(Code::RateLimited, detail).after(retry_after_s)
            }
            AutomationError::Moved(_) => Self::new(Code::Contended, detail),
            AutomationError::Full(_) => Self::new(Code::TooManyRules, detail),
            AutomationError::KeyReused => {
                Self::at(Code::KeyReused, Place::Header(IDEMPOTENCY_KEY.into()), detail)
            }
            AutomationError::Contended => Self { retry_after: Some(1), ..Self::new(Code::Contended, detail) },
        }
    }
}

fn noted(found: Vec<RuleFault>) -> Faults {
    let mut faults = Faults::default();
    for fault in found {
        faults.note_pointer(&fault.pointer, fault.detail);
    }
    faults
}

impl From<AutomationError> for Problem {
    fn from(error: AutomationError) -> Self {
        Self::of_automation(error, "rule")
    }
}

impl From<JobsError> for Problem {
    fn from(error: JobsError) -> Self {
        Self::of_jobs(error, Asked::One)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => {
                tracing::warn!(error.message = %cause, "the database is unavailable");
                let detail = "the database cannot be reached just now; if the request was a write, it is \
                              unknown whether it was done, and a repeat with the same idempotency key is safe";
                Self { retry_after: Some(1), ..Self::new(Code::Unavailable, detail) }
            }
            StoreError::Full(cause) => {
                tracing::error!(error.message = %cause, "the database has no room left");
                let detail = "the database has no room left; nothing was written";
                Self { retry_after: Some(30), ..Self::new(Code::StorageFull, detail) }
            }
            other @ (StoreError::Corrupt { .. } | StoreError::Rejected(_)) => Self::internal(&other),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::Unauthenticated {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_the_inside_is_told() {
        for error in [
            StoreError::Unavailable("secret".into()),
            StoreError::Full("secret".into()),
            StoreError::Rejected("secret".into()),
            StoreError::Corrupt { table: "secret", column: "c", id: "i".into(), detail: "d".into() },
        ] {
            let told = serde_json::to_string(&Problem::from(error).to_wire("r")).unwrap();
            assert!(!told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn a_batch_names_its_job() {
        let told = |asked| {
            Problem::of_jobs(JobsError::KeyReused { index: 3 }, asked).to_wire("r").errors[0].pointer.clone()
        };
        assert_eq!(told(Asked::Many), "#/jobs/3/idempotency_key");
        assert_eq!(told(Asked::One), "#/idempotency_key");
        assert_eq!(told(Asked::OneByHeader), "#/Idempotency-Key");
    }
}

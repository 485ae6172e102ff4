//! What went wrong with a call that brought no answer.

use std::error::Error;
use std::io;

use taskflow_domain::{AttemptError, Verdict};

use super::egress::Denied;
use super::resolve::LookupError;
use super::sanitize;

/// The longest message, in characters.
const LONGEST_MESSAGE: usize = 300;

/// The verdict on a call that failed. The URL stands nowhere in it, for it may hold
/// secrets.
pub(super) fn of_call(error: reqwest::Error) -> Verdict {
    let error = error.without_url();
    if let Some(denied) = find::<Denied>(&error) {
        return self::denied(denied);
    }
    if error.is_builder() {
        return invalid(&deepest(&error));
    }
    let (kind, what) = classify(&error);
    failed(kind, &format!("{what}: {}", deepest(&error)), false)
}

/// The verdict on a target whose address is forbidden.
pub(super) fn denied(denied: &Denied) -> Verdict {
    failed("egress_denied", &denied.to_string(), true)
}

/// The verdict on a target that cannot be called at all.
pub(super) fn invalid(message: &str) -> Verdict {
    failed("invalid_target", message, true)
}

fn classify(error: &reqwest::Error) -> (&'static str, &'static str) {
    if find::<LookupError>(error).is_some() || error.is_dns() {
        ("dns", "the name was not resolved")
    } else if is_tls(error) {
        ("tls", "no secure connection was made")
    } else if error.is_timeout() {
        ("timeout", "the time was up")
    } else if error.is_connect() {
        ("connect", "no connection was made")
    } else {
        ("protocol", "the connection broke")
    }
}

fn failed(kind: &str, message: &str, permanent: bool) -> Verdict {
    Verdict::Failed {
        error: AttemptError { kind: kind.into(), message: sanitize::line(message, LONGEST_MESSAGE) },
        result: None,
        permanent,
        retry_after_ms: None,
    }
}

/// What the innermost error says: the outer ones only say where it happened.
pub(super) fn deepest(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn is_tls(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| inside(error).is::<rustls::Error>())
}

/// What is inside an I/O error, which does not name it as its source, and may be
/// another one.
fn inside<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => inside(inner),
        None => error,
    }
}

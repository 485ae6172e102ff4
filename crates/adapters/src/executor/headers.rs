//! The headers of a call.

use std::collections::BTreeMap;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use taskflow_domain::ClaimedJob;

/// Headers that a target cannot set: the connection's own, and those that tell
/// who calls.
const RESERVED: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// So begin the names of the headers that tell about the job.
const OWN_PREFIX: &str = "taskflow-";

/// Why a target cannot have a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Not the name of a header.
    #[error("is not the name of a header")]
    Name,
    /// A value that cannot be sent.
    #[error("has a value that cannot be sent")]
    Value,
    /// A header that TaskFlow sets itself, or that belongs to the connection.
    #[error("is set by TaskFlow and cannot be given")]
    Reserved,
}

/// Whether a target may have this header. A reserved one is left out of calls.
pub fn validate_header(name: &str, value: &str) -> Result<(), HeaderFault> {
    parse(name, value).map(drop)
}

fn parse(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), HeaderFault> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderFault::Name)?;
    if name.as_str().starts_with(OWN_PREFIX) || RESERVED.contains(&name.as_str()) {
        return Err(HeaderFault::Reserved);
    }
    let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| HeaderFault::Value)?;
    Ok((name, value))
}

/// The headers of the call for `job`, or the name of the one that cannot be sent.
pub(super) fn of_call(
    job: &ClaimedJob,
    own_headers: &BTreeMap<String, String>,
    traceparent: &str,
    body: bool,
) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, text) in own_headers {
        match parse(name, text) {
            Ok((name, value)) => drop(headers.insert(name, value)),
            Err(HeaderFault::Reserved) => {}
            Err(_) => return Err(name.clone()),
        }
    }
    if body && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let own = [
        ("taskflow-job-id", job.spec.id.to_string()),
        ("taskflow-attempt", job.lease.counters.attempt.to_string()),
        ("taskflow-lease-token", job.lease.token.to_string()),
        ("taskflow-tenant", job.slug.to_string()),
        ("traceparent", traceparent.to_owned()),
    ];
    for (name, text) in own {
        let value = HeaderValue::from_str(&text).map_err(|_| name.to_owned())?;
        headers.insert(name, value);
    }
    Ok(headers)
}

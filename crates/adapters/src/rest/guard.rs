//! Keeps web pages out where callers need no key.
//!
//! A process without keys listens on loopback, and trusts whoever can reach it. A
//! browser on the same machine can, and does so for any page that it shows: by a
//! form or script that writes across origins, or under a name of the page's own
//! that is made to resolve to loopback. So the host that is asked for must be
//! loopback, and a write that a browser sends must come from this very origin.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::problem::{Code, Problem};

/// The layer under the context.
pub(super) async fn guard(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    if state.access.is_keyed() {
        return next.run(request).await;
    }
    let host = host(&request);
    if !state.any_host && !host.as_deref().is_none_or(is_loopback) {
        let detail = "without keys, TaskFlow answers only to localhost and addresses of loopback, and the \
                      request names another host: use http://127.0.0.1, or set TASKFLOW_AUTH=on";
        return Problem::new(Code::Forbidden, detail).into_response();
    }
    if !request.method().is_safe() && is_foreign(request.headers(), host.as_deref()) {
        let detail = "without keys, TaskFlow takes no writes from web pages of another origin: call it from \
                      a program, or set TASKFLOW_AUTH=on";
        return Problem::new(Code::Forbidden, detail).into_response();
    }
    next.run(request).await
}

/// The host and port that the request names. A browser always names them; one
/// that cannot be read is nobody's.
fn host(request: &Request) -> Option<String> {
    let of_header = |value: &axum::http::HeaderValue| value.to_str().unwrap_or("?").to_ascii_lowercase();
    let named = request.headers().get(header::HOST).map(of_header);
    named.or_else(|| request.uri().authority().map(|authority| authority.as_str().to_ascii_lowercase()))
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether a browser says that another origin sends this.
fn is_foreign(headers: &HeaderMap, host: Option<&str>) -> bool {
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return true;
    }
    headers.get(header::ORIGIN).is_some_and(|origin| {
        let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        let of = origin.split_once("://").map(|(_, authority)| authority);
        of.is_none() || of != host
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_loopback() {
        for good in ["localhost", "localhost:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:8080", "[::1]"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in
            ["", "evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "?"]
        {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn origins_are_told_apart() {
        let foreign = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            is_foreign(&headers, Some("localhost:8080"))
        };
        assert!(!is_foreign(&HeaderMap::new(), Some("localhost:8080")), "no browser");
        assert!(!foreign("origin", "http://localhost:8080"));
        for origin in ["null", "http://evil.example", "http://localhost:3000", "http://localhost"] {
            assert!(foreign("origin", origin), "{origin}");
        }
        assert!(foreign("sec-fetch-site", "cross-site"));
        assert!(!foreign("sec-fetch-site", "same-origin") && !foreign("sec-fetch-site", "none"));
    }
}

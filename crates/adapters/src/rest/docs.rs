//! The API's description, the page that shows it, and the front page. All of it
//! comes from this process: nothing is fetched from elsewhere, and the policy of
//! the pages would not let it.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::ApiState;

const SCRIPT: &[u8] = include_bytes!("assets/rapidoc-min.js");
const SCRIPT_GZ: &[u8] = include_bytes!("assets/rapidoc-min.js.gz");

/// The page's own script, and styles that it makes itself; the description, and
/// calls that a reader tries out, from this origin; nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
                      img-src 'self' data:; font-src 'self' data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The routes, which stand outside of `/v1` and of the OpenAPI description.
pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/", get(home))
        .route("/docs", get(docs))
        .route("/docs/rapidoc-min.js", get(script))
        .route("/openapi.json", get(description))
}

fn page(html: &'static str) -> Response {
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn home() -> Response {
    page(include_str!("assets/home.html"))
}

async fn docs() -> Response {
    page(include_str!("assets/docs.html"))
}

async fn description(State(state): State<ApiState>) -> Response {
    let document = state.description.as_bytes().to_vec();
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

async fn script(headers: HeaderMap) -> Response {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let gzip = accepted.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
    });
    let mut response = if gzip { SCRIPT_GZ } else { SCRIPT }.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_vendored_script_is_the_recorded_one() {
        let mut sums = String::new();
        for (file, bytes) in [("rapidoc-min.js", SCRIPT), ("rapidoc-min.js.gz", SCRIPT_GZ)] {
            for byte in Sha256::digest(bytes) {
                write!(sums, "{byte:02x}").unwrap();
            }
            writeln!(sums, "  {file}").unwrap();
        }
        assert_eq!(sums, include_str!("assets/SHA256SUMS"));
    }

    #[test]
    fn the_pages_name_no_other_origin() {
        for html in [include_str!("assets/home.html"), include_str!("assets/docs.html")] {
            assert!(!html.contains("://"), "{html}");
        }
    }
}

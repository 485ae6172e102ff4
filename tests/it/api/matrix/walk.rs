//! One route, and everybody who may not, or may, go through it.

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use super::super::Reply;
use super::Route;
use super::fixture::{Fixture, OPERATOR};

/// What was answered, without what names the thing that was asked for.
fn told(reply: &Reply, path: &str) -> (u16, String) {
    let thing = path.split('/').find(|part| part.len() == 36).unwrap_or("no id");
    (reply.status.as_u16(), reply.text.replace(thing, "ID"))
}

/// Nobody comes in without a key that is good, and good for this.
pub(super) async fn without_a_right(fixture: &Fixture, route: &Route) -> usize {
    let Some(scope) = &route.scope else { return 0 };
    let (path, _) = fixture.paths(&route.path).await;
    let mut cases = 0;
    for (why, key) in &fixture.dead {
        let reply = fixture.ask(key, &route.method, &path, route.body.clone()).await;
        assert_eq!(reply.status, 401, "{} with a key that is {why}: {}", route.name(), reply.text);
        assert_eq!(reply.problem(401).0, "unauthenticated");
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
        cases += 1;
    }
    for header in [["Basic YTpi", ""], ["Bearer", ""], [OPERATOR, ""], ["Bearer a", "Bearer b"]] {
        let mut request = Request::builder().method(route.method.clone()).uri(&path);
        for value in header.into_iter().filter(|value| !value.is_empty()) {
            request = request.header("authorization", value);
        }
        let reply = fixture.api.request(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.problem(401).0, "unauthenticated", "{} with {header:?}", route.name());
        cases += 1;
    }
    let lacking: Vec<_> = match scope.as_str() {
        "operator" => fixture.lacking.iter().chain([&("operator", fixture.own.clone())]).cloned().collect(),
        scope => fixture.lacking.iter().filter(|(lacked, _)| *lacked == scope).cloned().collect(),
    };
    assert!(!lacking.is_empty(), "{} needs {scope}, which is no scope", route.name());
    for (_, key) in lacking {
        let reply = fixture.ask(&key, &route.method, &path, route.body.clone()).await;
        assert_eq!(reply.problem(403).0, "forbidden", "{}", route.name());
        assert!(reply.text.contains(scope.as_str()), "{}", reply.text);
        cases += 1;
    }
    cases
}

/// Whoever may, is let in.
pub(super) async fn with_a_right(fixture: &Fixture, route: &Route) -> usize {
    let Some(_) = &route.scope else { return 0 };
    let (path, _) = fixture.paths(&route.path).await;
    let key = if route.is_tenants() { fixture.own.as_str() } else { OPERATOR };
    let reply = fixture.ask(key, &route.method, &path, route.body.clone()).await;
    assert!(![401, 403].contains(&reply.status.as_u16()), "{}: {}", route.name(), reply.text);
    // This process does no ticks.
    let fails = reply.status.is_server_error() && route.path != "/v1/pulse";
    assert!(!fails, "{}: {}", route.name(), reply.text);
    if !route.is_tenants() {
        return 1;
    }
    // An operator may too, for the tenant that it names.
    let (path, _) = fixture.paths(&route.path).await;
    let request = Request::builder().method(route.method.clone()).uri(&path);
    let request = request.header("authorization", format!("bearer {OPERATOR}"));
    let request = request.header("taskflow-tenant", "acme").header("content-type", "application/json");
    let body = route.body.clone().map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let reply = fixture.api.request(request.body(body).unwrap()).await;
    assert!(![401, 403].contains(&reply.status.as_u16()), "{}: {}", route.name(), reply.text);
    2
}

/// Another tenant hears of a thing what it hears of one that does not exist, and
/// does nothing to it.
pub(super) async fn across_the_wall(fixture: &Fixture, route: &Route) -> usize {
    if !route.is_tenants() {
        return 0;
    }
    let (foreign, absent) = fixture.paths(&route.path).await;
    let job = fixture.job().await;
    let thing = foreign.split('/').position(|part| part.len() == 36);
    let thing = foreign.split('/').take(thing.map_or(usize::MAX, |at| at + 1)).collect::<Vec<_>>().join("/");
    let look = async || fixture.ask(&fixture.own, &"GET".parse().unwrap(), &thing, None).await.text;
    let look_job = async || {
        let path = format!("/v1/jobs/{job}");
        fixture.ask(&fixture.own, &"GET".parse().unwrap(), &path, None).await.text
    };
    let before = (look().await, look_job().await);
    let of_foreign = fixture.ask(&fixture.other, &route.method, &foreign, route.body.clone()).await;
    let of_absent = fixture.ask(&fixture.other, &route.method, &absent, route.body.clone()).await;
    if foreign == absent {
        hears_nothing(route, &of_foreign, &job);
    } else {
        assert_eq!(told(&of_foreign, &foreign), told(&of_absent, &absent), "{}", route.name());
        assert!(!of_foreign.status.is_success(), "{}: {}", route.name(), of_foreign.text);
    }
    let after = (look().await, look_job().await);
    assert_eq!(before.1, after.1, "{} changed a job across the wall", route.name());
    if foreign != absent {
        assert_eq!(before.0, after.0, "{} changed something across the wall", route.name());
    }
    let request = Request::builder().method(route.method.clone()).uri(&foreign);
    let request = request.header("authorization", format!("Bearer {}", fixture.other));
    let request = request.header("taskflow-tenant", "acme").body(Body::empty()).unwrap();
    let named = fixture.api.request(request).await;
    assert_eq!(named.problem(403).0, "forbidden", "{} naming another tenant", route.name());
    3
}

/// An answer about everything holds nothing of the other tenant.
fn hears_nothing(route: &Route, reply: &Reply, job: &str) {
    assert!(![401, 403].contains(&reply.status.as_u16()), "{}: {}", route.name(), reply.text);
    for secret in [job, "of-acme", "\"acme\""] {
        assert!(!reply.text.contains(secret), "{} tells {secret}: {}", route.name(), reply.text);
    }
    if reply.status.is_success() {
        let body: Value = serde_json::from_str(&reply.text).unwrap_or_default();
        assert_ne!(body["tenant"], "acme", "{}", route.name());
    }
}

//! Two tenants, and every route: a matrix that is made of the OpenAPI
//! description, so that a route that is described is also asked.
//!
//! Each route is asked without a key, with keys that open nothing, with a key of
//! another tenant, with one that may do everything but this, and with the right
//! one. What another tenant's key gets to hear of a thing is compared with what
//! it hears of one that does not exist.

mod fixture;
mod references;
mod walk;

use axum::http::Method;
use serde_json::{Map, Value};

use fixture::Fixture;

/// Routes that need no key: deliveries have a signature of their own, and the
/// handshake tells nothing.
const PUBLIC: &[(&str, &str)] = &[("post", "/v1/events/webhook/{key}"), ("options", "/v1/events")];

/// A described operation.
struct Route {
    method: Method,
    path: String,
    /// The scope that its key must have; `None` for one that needs no key.
    scope: Option<String>,
    /// The example of its body.
    body: Option<Value>,
}

impl Route {
    fn is_tenants(&self) -> bool {
        self.scope.as_deref().is_some_and(|scope| scope != "operator")
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

fn example(document: &Value, operation: &Map<String, Value>) -> Option<Value> {
    let content = operation.get("requestBody")?["content"].as_object()?;
    let schema = &content.values().next()?["schema"];
    let name = schema["$ref"].as_str().and_then(|text| text.rsplit('/').next());
    let example = name.map(|name| document["components"]["schemas"][name]["example"].clone());
    Some(example.filter(|example| !example.is_null()).unwrap_or_else(|| serde_json::json!({})))
}

fn routes(document: &Value) -> Vec<Route> {
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let operation = operation.as_object().unwrap();
            let needs = operation.get("security").and_then(Value::as_array);
            let body = match path.as_str() {
                // The example acts for many tenants, for which a tenant's key is not enough.
                "/v1/automation-rules" | "/v1/automation-rules/{id}" if method != "get" => {
                    Some(fixture::rule("r"))
                }
                _ => example(document, operation),
            };
            let scope = needs.and_then(|needs| needs.first()).and_then(|need| need["key"][0].as_str());
            assert!(
                scope.is_some() || PUBLIC.contains(&(method.as_str(), path.as_str())),
                "{method} {path} does not say which scope its key needs"
            );
            routes.push(Route {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                scope: scope.map(str::to_owned),
                body,
            });
        }
    }
    routes
}

#[tokio::test]
async fn every_route_stands_behind_the_wall() {
    let fixture = Fixture::new().await;
    let document = fixture.api.get("/openapi.json").await.expect(200);
    let routes = routes(&document);
    let mut cases = 0;
    for route in &routes {
        cases += walk::without_a_right(&fixture, route).await;
        cases += walk::with_a_right(&fixture, route).await;
        cases += walk::across_the_wall(&fixture, route).await;
    }
    println!("{} routes, {cases} cases", routes.len());
    assert!(routes.len() >= 33 && cases >= 12 * routes.len(), "{cases} cases of {} routes", routes.len());
}

/// What is not described cannot be asked above, so it must not exist, but for
/// the few pages that everybody may see.
#[test]
fn no_route_is_left_undescribed() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/adapters/src/rest");
    let mut found = Vec::new();
    let mut waiting = vec![std::path::PathBuf::from(directory)];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap_or_default();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                found.extend(text.matches(".route(\"").map(|_| name.clone()));
            }
        }
    }
    found.retain(|name| !["health.rs", "docs.rs"].contains(&name.as_str()));
    assert_eq!(found, Vec::<String>::new(), "routes that the description does not know");
}

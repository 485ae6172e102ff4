//! Text that means something to a database, a log or a terminal, in every place
//! where a caller can put text: it stays text.

use anyhow::Result;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};
use taskflow_tests::process::client;

use super::access::{Holder, OPERATOR, keyed};
use super::api::Store;
use super::on_both_databases;

on_both_databases! {
    hostile_text_stays_text
}

const TEXTS: [&str; 32] = [
    "\0",
    "a\0b",
    "'",
    "''",
    "\"",
    "';--",
    "' or '1'='1",
    "' or 1=1 --",
    "'; drop table job; --",
    "'; delete from audit; --",
    "') or ('a'='a",
    "\\' or 1=1 --",
    "1; select pg_sleep(5)",
    "' || pg_sleep(5) --",
    "' union select digest from api_key --",
    "$1",
    "$$; drop table job; $$",
    "?1",
    ":name",
    "%",
    "_",
    "%' escape '",
    "x' and (select count(*) from api_key) > 0 --",
    "job; attach database '/etc/passwd' as x",
    "{\"level\":\"ERROR\",\"message\":\"forged\"}",
    "line\r\n{\"level\":\"ERROR\",\"message\":\"forged\"}",
    "\u{1b}[2J\u{1b}[31mred",
    "\u{1b}]0;title\u{7}",
    "\u{202e}desrever",
    "\u{2028}\u{2029}\u{85}",
    "\u{feff}${jndi:ldap://x}",
    "${{7*7}} {{7*7}} <%= 7*7 %>",
];

const PATHS: [&str; 15] = [
    "/v1/jobs?queue=TEXT",
    "/v1/jobs?kind=TEXT",
    "/v1/jobs?state=TEXT",
    "/v1/jobs?cursor=TEXT",
    "/v1/jobs?label.team=TEXT",
    "/v1/jobs?label.TEXT=a",
    "/v1/jobs?TEXT=a",
    "/v1/jobs/TEXT",
    "/v1/admin/audit?actor=TEXT",
    "/v1/admin/audit?action=TEXT&object=TEXT",
    "/v1/admin/api-keys?tenant=TEXT",
    "/v1/admin/queues/TEXT",
    "/v1/admin/tenants/TEXT",
    "/v1/automation-rules/TEXT/firings?outcome=TEXT",
    "/TEXT",
];

async fn hostile_text_stays_text(store: Store) -> Result<()> {
    let process = keyed(store.launch("up")).env("RUST_LOG", "debug").start().await?;
    let operator = Holder::new(&process.url, OPERATOR)?;
    let job = operator.did(Method::POST, "/v1/jobs", json!({ "kind": "k", "labels": {"team": "a"} })).await?;
    let mut cases = 0;
    for text in TEXTS {
        let encoded = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        for path in PATHS {
            let answer = operator.send(Method::GET, &path.replace("TEXT", &encoded), None).await?;
            let status = answer.status();
            assert!(!status.is_server_error(), "{path} with {text:?}: {}", answer.text().await?);
            let body = answer.json::<Value>().await?;
            let items = body["items"].as_array();
            let empty = items.is_none_or(Vec::is_empty);
            assert!(!status.is_success() || empty, "{path} with {text:?} finds something: {body}");
            cases += 1;
        }
        let webhook = format!("/v1/events/webhook/{encoded}");
        let status = operator.status(Method::POST, &webhook, Some(&json!({}))).await?;
        assert_eq!(status, 404, "{webhook}");
        cases += 1;
        for body in [
            json!({ "kind": text }),
            json!({ "kind": "k", "payload": {text: text}, "labels": {"team": text} }),
            json!({ "kind": "k", "idempotency_key": text }),
            json!({ text: text }),
        ] {
            let status = operator.status(Method::POST, "/v1/jobs", Some(&body)).await?;
            assert!([201, 422].contains(&status), "{body}: {status}");
            cases += 1;
        }
        for header in ["taskflow-tenant", "taskflow-reason", "x-request-id", "traceparent", "authorization"] {
            let Ok(value) = reqwest::header::HeaderValue::from_bytes(text.as_bytes()) else { continue };
            let request = client()?.get(format!("{}/v1/jobs?limit=1", process.url)).bearer_auth(OPERATOR);
            let status = request.header(header, value).send().await?.status();
            assert!(!status.is_server_error(), "{header} {text:?}: {status}");
            cases += 1;
        }
    }
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap_or_default());
    assert_eq!(operator.did(Method::GET, &path, Value::Null).await?["kind"], "k", "the tables are there");
    for line in process.log().lines() {
        let event: Value = serde_json::from_str(line)?;
        assert!(event["message"] != "forged", "{line}");
        let plain = |c: char| !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c) && c != '\u{2028}';
        assert!(line.chars().all(plain), "{line:?}");
    }
    println!("{cases} cases of hostile text");
    Ok(())
}

//! What expressions answer, and what is refused.

use serde_json::json;
use taskflow_application::ports::{Known, Shape};
use taskflow_domain::Timestamp;

use super::*;

const VARIABLES: &[Known] = &[
    Known::new("tenant", Shape::Object(TENANT)),
    Known::new("trigger", Shape::Any),
    Known::new("event", Shape::Any),
    Known::new("job", Shape::Any),
    Known::new("now", Shape::Time),
];
const TENANT: &[Known] = &[
    Known::new("slug", Shape::Text),
    Known::new("attributes", Shape::Any),
    Known::new("weight", Shape::Number),
];

pub(super) fn engine() -> CelEngine {
    CelEngine::start(1).unwrap()
}

pub(super) fn scope() -> Scope {
    Scope::at(Timestamp::parse_rfc3339("2026-11-21T07:00:00Z").unwrap())
        .with("tenant", json!({"slug": "acme", "attributes": {"plan": "pro"}}))
        .with("event", json!({
            "type": "order.paid", "source": "/shop", "headers": {"x-a": "1"},
            "data": {"n": 3, "price": 2.5, "big": 18_446_744_073_709_551_615_u64, "nil": null, "text": "straße",
                "items": [{"id": 1, "ok": true}, {"id": 2, "ok": false}], "user": {"mail": "a@example.com"}}
        }))
}

pub(super) async fn ask(engine: &CelEngine, source: &str, wanted: Wanted) -> Result<Value, EvaluationFault> {
    engine.evaluate(vec![(source.into(), wanted)], Arc::new(scope())).await.remove(0)
}

pub(super) async fn check(engine: &CelEngine, source: &str, wanted: Wanted) -> Vec<String> {
    let question = Question { source: source.into(), wanted, variables: VARIABLES };
    engine.check(vec![question]).await.remove(0).into_iter().map(|fault| fault.message).collect()
}

#[tokio::test]
async fn expressions_answer() {
    let engine = engine();
    for (source, expected) in [
        ("tenant.attributes.plan == 'pro'", json!(true)),
        ("event.data.n > 2 && event.data.price < 3.0", json!(true)),
        ("event.data.n + 1", json!(4)),
        ("event.data.n", json!(3)),
        ("event.data", scope().variables["event"]["data"].clone()),
        ("event.data.big", json!(18_446_744_073_709_551_615_u64)),
        ("event.data.nil == null", json!(true)),
        ("has(event.data.none)", json!(false)),
        ("has(event.data.n) && has(event.data.user.mail)", json!(true)),
        ("event.headers['x-a']", json!("1")),
        ("event.data.items[1].id", json!(2)),
        ("event.data.items.exists(x, x.ok)", json!(true)),
        ("event.data.items.all(x, x.ok)", json!(false)),
        ("event.data.items.exists_one(x, x.id == 2)", json!(true)),
        ("event.data.items.map(x, x.id * 10)", json!([10, 20])),
        ("event.data.items.filter(x, x.ok).map(x, x.id)", json!([1])),
        ("event.data.items.map(x, event.data.items.map(y, x.id + y.id))", json!([[2, 3], [3, 4]])),
        ("size(event.data.text) == 6", json!(true)),
        ("event.data.text.startsWith('str') && event.data.user.mail.endsWith('.com')", json!(true)),
        ("event.type.matches('^order\\\\.(paid|open)$')", json!(true)),
        ("'x' in ['x', 'y'] && 'plan' in tenant.attributes", json!(true)),
        ("now", json!("2026-11-21T07:00:00.000000Z")),
        ("now - duration('24h') < timestamp('2026-11-21T00:00:00Z')", json!(true)),
        ("now.getHours('Europe/Madrid')", json!(8)),
        ("duration('90m')", json!("5400s")),
        ("{'a': [1, 2.5, 'x'], 'b': {'c': null}}", json!({"a": [1, 2.5, "x"], "b": {"c": null}})),
        ("'it is ' + string(event.data.n)", json!("it is 3")),
        ("event.data.none == 1 || true", json!(true)),
        ("event.data.n == 3 ? 'a' : 'b'", json!("a")),
        ("type(event.data.n) == int", json!(true)),
        ("'ABC'.lowerAscii() + ' x '.trim()", json!("abcx")),
    ] {
        assert_eq!(check(&engine, source, Wanted::Any).await, [""; 0], "{source}");
        assert_eq!(ask(&engine, source, Wanted::Any).await, Ok(expected), "{source}");
    }
}

#[tokio::test]
async fn a_missing_field_is_named() {
    let engine = engine();
    for (source, path) in [
        ("event.data.none", "event.data.none"),
        ("event.data.none.deeper == 1", "event.data.none"),
        ("event.data.n == 3 && event.data.user.name == 'x'", "event.data.user.name"),
        ("event.data.user.name.first", "event.data.user.name"),
        ("event.data.nil.field == 1", "event.data.nil.field"),
        ("event.data.n.field == 1", "event.data.n.field"),
        ("has(event.data.none.deeper)", "event.data.none"),
        ("event.data.items.exists(x, x.name == 'a')", "name"),
        ("event.headers['x-none']", "x-none"),
    ] {
        let answer = ask(&engine, source, Wanted::Any).await;
        assert_eq!(answer, Err(EvaluationFault::MissingField { path: path.to_owned() }), "{source}");
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let engine = engine();
    let nested = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    for (source, part) in [
        (String::new(), "empty"),
        ("1 +".to_owned(), ""),
        ("event.data.".to_owned(), ""),
        ("user.name == 'x'".to_owned(), "no variable user"),
        ("evnt.data && jub.id == 1".to_owned(), "no variable evnt"),
        ("nothing(1)".to_owned(), "no function nothing"),
        ("event.data.items.reduce(x, x)".to_owned(), "no function reduce"),
        ("'a'.replace('a', 'b') == 'b'".to_owned(), "no function replace"),
        ("[1].exists(event, event == 1)".to_owned(), "is taken"),
        ("[1].all(a, [1].all(b, [1].all(c, a == b)))".to_owned(), "nested"),
        ("google.protobuf.Duration{seconds: 1} == now".to_owned(), ""),
        ("event.data.n + 1".to_owned(), "true or false"),
        ("'true'".to_owned(), "true or false"),
        (format!("'{}' == ''", "x".repeat(MAX_SOURCE)), "bytes"),
        (vec!["event.data.n == 1"; 140].join(" && "), "nodes"),
        (nested("(", ")", 200), ""),
        (nested("[", "]", 500), ""),
        (nested("-(", ")", 300), ""),
        ("a.?b".to_owned(), ""),
        ("'\\".to_owned(), ""),
        ("\u{0}".to_owned(), ""),
    ] {
        let told = check(&engine, &source, Wanted::Verdict).await;
        assert!(told.iter().any(|told| told.contains(part)), "{source:.60}: {told:?}");
    }
    for (open, close) in [("[", "]"), ("size([", "])")] {
        let told = check(&engine, &nested(open, close, 40), Wanted::Verdict).await;
        assert_eq!(told, ["is nested deeper than 24"], "{open}");
    }
    let faults = check(&engine, "evnt.x && jub.y", Wanted::Verdict).await;
    assert_eq!(faults.len(), 2, "{faults:?}");
    let question = Question { source: "true &&\n &&".into(), wanted: Wanted::Verdict, variables: VARIABLES };
    let faults = engine.check(vec![question]).await.remove(0);
    assert!(faults[0].offset.is_some_and(|offset| offset >= 8), "{faults:?}");
}

#[tokio::test]
async fn what_is_wrong_whatever_happens_is_told_when_it_is_saved() {
    let engine = engine();
    for (source, told) in [
        ("'a'.matches('(')", "matches: the pattern cannot be read: unclosed group"),
        ("tenant.slug.matches('[a')", "matches: the pattern cannot be read: unclosed character class"),
        ("event.data.items.exists(x, x.id.matches('*'))", "matches: the pattern cannot be read: repetition"),
        ("tenant.slug.matches('(a{200}){200}')", "matches: the pattern is too large"),
        ("tenant.nope == 1", "there is no field tenant.nope; tenant has slug, attributes, weight"),
        ("has(tenant.nope)", "there is no field tenant.nope; tenant has slug, attributes, weight"),
        ("tenant.slug.x == 1", "there is no field tenant.slug.x: tenant.slug is a text"),
        ("tenant.slug > 1", "a text cannot be compared with a number"),
        ("now > '2026-01-01T00:00:00Z'", "a time cannot be compared with a text"),
        ("tenant.slug + 1 == 'a1'", "+ cannot be applied to a text and a number"),
        ("-tenant.slug == 'x'", "- cannot be applied to a text"),
        ("tenant.slug && true", "&& wants true or false, and there is a text"),
        ("!tenant.weight", "! wants true or false, and there is a number"),
        ("tenant.slug ? true : false", "? wants true or false, and there is a text"),
        ("tenant.slug", "a condition must be true or false, and this is a text"),
        ("tenant.slug.startsWith()", "startsWith has too few or too many arguments"),
        ("tenant.slug.startsWith(1)", "startsWith takes a text, and there is a number"),
        ("size(tenant.weight) == 1", "size cannot be applied to a number"),
        ("tenant.slug.getHours() == 1", "getHours cannot be applied to a text"),
        ("tenant.slug == 'a' || 1 / 0 == 1", "division by zero"),
        ("now > timestamp('soon')", "timestamp: "),
        ("1 + true == 2", "+ cannot be applied to a number and a boolean"),
        ("tenant.slug.all(x, x == 'a')", "a text has no elements"),
        ("event.data.n + event.data.m", "a condition must be true or false"),
        ("event.data.n * event.data.m", "a condition must be true or false, and this is a number"),
        ("'a' + event.data.m", "a condition must be true or false, and this is a text"),
    ] {
        let faults = check(&engine, source, Wanted::Verdict).await;
        assert!(faults.len() == 1 && faults[0].starts_with(told), "{source}: {faults:?}");
    }
    for fine in [
        "tenant.attributes.nope.deeper == 1",
        "tenant.attributes['nope'] > 1 || event.data + 1 == 2",
        "tenant.weight > 1.5 && tenant.weight >= 2 && tenant.slug < 'b'",
        "now - duration('1h') < timestamp(event.time) && now - timestamp(event.time) < duration('1h')",
        "event.data.items.map(x, x.n + 1).size() > 0 && now.getHours('Europe/Madrid') == 8",
        "(has(event.data.n) ? event.data.n : 0) > 1 && 'abc'.substring(1, 2).size() == 1",
        "tenant.slug.indexOf('a', 1) == -1 && int(now) > 0 && string(1.5) == '1.5'",
        "tenant.slug == null || tenant.slug == 1 || tenant.slug in ['a']",
    ] {
        assert_eq!(check(&engine, fine, Wanted::Verdict).await, [""; 0], "{fine}");
    }
}

#[tokio::test]
async fn no_fault_speaks_of_what_reads_the_expression() {
    let engine = engine();
    for source in [
        "1 +",
        "a b",
        "event.",
        "(1",
        "[1, 2",
        "{'a' 1}",
        "event.data[",
        "has(1)",
        "1 ? 2",
        "'a",
        "&",
        "x.?y",
    ] {
        let told = check(&engine, source, Wanted::Any).await.join("; ");
        let inner = ["yntax error", "EOF", "Tok", "macro", "limit", "mismatched", "ERROR"];
        assert!(!told.is_empty() && !inner.iter().any(|word| told.contains(word)), "{source}: {told}");
    }
}

#[tokio::test]
async fn a_verdict_is_true_or_false() {
    let engine = engine();
    assert_eq!(ask(&engine, "true", Wanted::Verdict).await, Ok(json!(true)));
    for source in ["event.data.n", "event.data.nil", "event.data.items"] {
        assert!(
            matches!(ask(&engine, source, Wanted::Verdict).await, Err(EvaluationFault::Type(_))),
            "{source}"
        );
    }
    for source in
        ["event.data.n == 1 + 'a'", "1 / 0 == 1", "event.data.items[7]", "'a' > 1", "9223372036854775807 + 1"]
    {
        assert!(matches!(ask(&engine, source, Wanted::Any).await, Err(EvaluationFault::Type(_))), "{source}");
    }
    assert!(matches!(ask(&engine, "job.id == 'x'", Wanted::Any).await, Err(EvaluationFault::Invalid(_))));
}

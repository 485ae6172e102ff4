//! What expressions answer, what is refused, and what nothing can break.

use proptest::prelude::{Strategy, proptest};
use proptest::test_runner::Config;
use serde_json::json;
use taskflow_domain::Timestamp;

use super::*;

const VARIABLES: &[&str] = &["tenant", "trigger", "event", "job", "now"];

fn engine() -> CelEngine {
    CelEngine::start(1).unwrap()
}

fn scope() -> Scope {
    Scope::at(Timestamp::parse_rfc3339("2026-11-21T07:00:00Z").unwrap())
        .with("tenant", json!({"slug": "acme", "attributes": {"plan": "pro"}}))
        .with("event", json!({
            "type": "order.paid", "source": "/shop", "headers": {"x-a": "1"},
            "data": {"n": 3, "price": 2.5, "big": 18_446_744_073_709_551_615_u64, "nil": null, "text": "straße",
                "items": [{"id": 1, "ok": true}, {"id": 2, "ok": false}], "user": {"mail": "a@example.com"}}
        }))
}

async fn ask(engine: &CelEngine, source: &str, wanted: Wanted) -> Result<Value, EvaluationFault> {
    engine.evaluate(vec![(source.into(), wanted)], Arc::new(scope())).await.remove(0)
}

async fn check(engine: &CelEngine, source: &str, wanted: Wanted) -> Vec<String> {
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
    let faults = check(&engine, "evnt.x && jub.y", Wanted::Verdict).await;
    assert_eq!(faults.len(), 2, "{faults:?}");
    let question = Question { source: "true &&\n &&".into(), wanted: Wanted::Verdict, variables: VARIABLES };
    let faults = engine.check(vec![question]).await.remove(0);
    assert!(faults[0].offset.is_some_and(|offset| offset >= 8), "{faults:?}");
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

fn large() -> Scope {
    let items: Vec<_> = (0..MAX_ELEMENTS).map(|n| json!({"n": n, "text": "x".repeat(100)})).collect();
    scope().with(
        "event",
        json!({
            "data": {"items": items, "numbers": vec![7; MAX_ELEMENTS], "many": vec![7; MAX_ELEMENTS + 1],
                "text": "a".repeat(200_000), "strings": vec!["ab"; MAX_ELEMENTS]}
        }),
    )
}

/// Expressions that copy, double, or run over every pair.
const BOMBS: &[&str] = &[
    "event.data.items.all(x, event.data.items.all(y, x.n >= 0 && y.n >= 0))",
    "event.data.numbers.map(x, event.data.numbers.map(y, x + y)).size() > 0",
    "event.data.items.map(x, event.data.text + event.data.text).size() > 0",
    "event.data.items.map(x, [event.data.items, event.data.items]).size() > 0",
    "event.data.items.exists(x, event.data.items == event.data.items && false)",
    "event.data.items.exists(x, event.data.text.contains('b'))",
    "event.data.strings.exists(x, event.data.text.matches('(a*)*b'))",
    "event.data.strings.exists(x, x.matches('(a{200}){200}'))",
    "event.data.strings.exists(x, x.matches(x + string(size(x)) + '[a-z]{50}'))",
    "event.data.numbers.exists(x, x in event.data.numbers.filter(y, y > 100))",
    "[[event.data, event.data], [event.data, event.data], [event.data, event.data]].size() > 0",
    "event.data.numbers.all(x, true || event.data.items.all(y, true))",
    "event.data.many.all(x, x > 0)",
];

#[tokio::test]
async fn bombs_are_stopped_and_harmless() {
    let engine = engine();
    let scope = Arc::new(large());
    for bomb in BOMBS {
        let begun = tokio::time::Instant::now();
        let answer =
            engine.evaluate(vec![((*bomb).into(), Wanted::Verdict)], Arc::clone(&scope)).await.remove(0);
        println!("{:?} for {bomb}: {answer:?}", begun.elapsed());
        assert!(!matches!(answer, Err(EvaluationFault::Broken)), "{bomb}");
    }
    // A legitimate look at a thousand elements is within the budget.
    let fair = "event.data.items.exists(x, x.n == 999 && x.text.startsWith('x'))";
    assert_eq!(engine.evaluate(vec![(fair.into(), Wanted::Verdict)], scope).await.remove(0), Ok(json!(true)));
    let absorbed = "event.data.numbers.all(x, event.data.numbers.all(y, x + y > 0)) || true";
    let answer = engine.evaluate(vec![(absorbed.into(), Wanted::Verdict)], Arc::new(large())).await.remove(0);
    assert!(matches!(answer, Err(EvaluationFault::TooCostly(_))), "{answer:?}");
}

#[tokio::test]
async fn sources_that_made_parsers_explode_are_refused() {
    let engine = engine();
    // Of the kinds that exhausted memory or stack of parsers of this language.
    let known = [
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[".to_owned(),
        "((((((((((((((((((((((((((((((((((((((((((((((((((((((((a".to_owned(),
        "{".repeat(120) + "0" + &":0}".repeat(120),
        "a.b(".repeat(125) + &")".repeat(125),
        "x ? ".repeat(100) + "1" + &" : 1".repeat(100),
        "-".repeat(4000) + "1",
        "'".repeat(4000),
        "r'".repeat(2000),
        "/*".repeat(2000),
        "\u{10ffff}".repeat(900),
        "a[".repeat(1300),
        "1+".repeat(2000) + "1",
        "a.".repeat(2000) + "a",
        "[1].map(a,".repeat(100) + "1" + &")".repeat(100),
        "true&&".repeat(680) + "true",
    ];
    for source in known {
        assert!(!check(&engine, &source, Wanted::Verdict).await.is_empty(), "{source:.40}");
        assert!(ask(&engine, &source, Wanted::Verdict).await.is_err(), "{source:.40}");
    }
}

/// What sources are put together from.
const WORDS: &[&str] = &[
    "event",
    ".data",
    ".items",
    ".n",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "<",
    "?",
    ":",
    ",",
    "1",
    "2u",
    "1.5",
    "'a'",
    "b\"x\"",
    "true",
    "null",
    ".map(x,",
    ".all(x,",
    ".exists(y,",
    ".filter(z,",
    "has(",
    "x",
    "size(",
    "in",
    "now",
    "timestamp(",
    "duration('1h')",
    ".matches('a+')",
    "job",
    "r'",
    "\\",
    "int(",
    "string(",
    ".?",
    "@",
    "`",
    "\"\"\"",
    " ",
    "type(",
    "dyn(",
    "0x7fffffffffffffff",
    "9e999",
    "ß",
];

fn sources() -> impl Strategy<Value = String> {
    let word = (0..WORDS.len()).prop_map(|index| WORDS[index]);
    proptest::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(Config { cases: 400, failure_persistence: None, ..Config::default() })]
    #[test]
    fn no_source_breaks_the_engine(known in sources(), any in ".{0,200}") {
        thread_local! {
            static ENGINE: (CelEngine, tokio::runtime::Runtime) =
                (engine(), tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap());
        }
        ENGINE.with(|(engine, runtime)| runtime.block_on(async {
            for source in [&known, &any] {
                check(engine, source, Wanted::Any).await;
                _ = ask(engine, source, Wanted::Any).await;
            }
            assert_eq!(ask(engine, "1 + 1", Wanted::Any).await, Ok(json!(2)));
        }));
    }
}

/// Two hundred expressions at the limits, timed: a figure to look at with
/// `--release -- --nocapture`, and no more than that.
#[tokio::test]
async fn the_cost_at_the_limits_is_printed() {
    let engine = engine();
    let scope = Arc::new(large());
    let terms = |n: usize| {
        (0..45).map(|m| format!("event.data.numbers[{m}] + {n} >= 7")).collect::<Vec<_>>().join(" && ")
    };
    let mut sources: Vec<String> = (0..100).map(terms).collect();
    sources
        .extend((0..50).map(|n| format!("event.data.items.exists(x, x.n == {} && x.text != 'y')", 900 + n)));
    sources.extend(
        (0..50).map(|n| format!("event.data.numbers.all(x, event.data.numbers.all(y, x + y >= {n}))")),
    );
    let mut worst = std::time::Duration::ZERO;
    let mut total = std::time::Duration::ZERO;
    for source in &sources {
        assert_eq!(check(&engine, source, Wanted::Verdict).await, [""; 0], "{source}");
        let begun = tokio::time::Instant::now();
        let answer =
            engine.evaluate(vec![(source.as_str().into(), Wanted::Verdict)], Arc::clone(&scope)).await;
        worst = worst.max(begun.elapsed());
        total += begun.elapsed();
        assert!(matches!(answer[0], Ok(_) | Err(EvaluationFault::TooCostly(_))), "{:?}", answer[0]);
    }
    println!("{} expressions at the limits: {total:?} together, the worst {worst:?}", sources.len());
}

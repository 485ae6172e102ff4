//! What nothing can break: expressions that copy, double or nest, and made-up ones.

use proptest::prelude::{Strategy, proptest};
use proptest::test_runner::Config;
use serde_json::json;

use super::tests::{ask, check, engine, scope};
use super::*;

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
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]
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

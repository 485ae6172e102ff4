//! What templates are read as, and what they render to.

use proptest::prelude::{prop_assert_eq, proptest};
use serde_json::json;

use super::*;

fn sources(template: &Template) -> Vec<(&str, &str)> {
    template.placeholders().iter().map(|one| (one.pointer.as_str(), &*one.source)).collect()
}

#[test]
fn types_are_kept_where_an_expression_is_alone() {
    let document = json!({
        "n": "${event.data.n}", "text": "day ${now} of ${event.data.n}", "list": ["${a}", 1, null],
        "plain": "cost: $5 {x}", "escaped": "$${not} ${a}", "${key}": true,
    });
    let template = Template::parse(&document, "/actions/0").unwrap();
    assert_eq!(
        sources(&template),
        [
            ("/actions/0/escaped", "a"),
            ("/actions/0/list/0", "a"),
            ("/actions/0/n", "event.data.n"),
            ("/actions/0/text", "now"),
            ("/actions/0/text", "event.data.n"),
        ]
    );
    let answers = [
        json!([true]),
        json!({"x": 1.0}),
        json!(18_446_744_073_709_551_615_u64),
        json!("Monday"),
        json!(null),
    ];
    let answers: Vec<_> = answers.into_iter().map(Ok).collect();
    let expected = json!({
        "n": 18_446_744_073_709_551_615_u64, "text": "day Monday of null", "list": [{"x": 1.0}, 1, null],
        "plain": "cost: $5 {x}", "escaped": "${not} [true]", "${key}": true,
    });
    assert_eq!(template.render(&answers).unwrap(), expected);
}

#[test]
fn an_expression_ends_at_its_own_brace() {
    for (text, source) in [
        ("${ {'a': {'b': 1}}.a }", "{'a': {'b': 1}}.a"),
        ("${'}' + \"}\"}", "'}' + \"}\""),
        (r"${'it\'s }'}", r"'it\'s }'"),
        (r"${r'\'}", r"r'\'"),
        ("${'''a'}'''}", "'''a'}'''"),
        ("${a}", "a"),
    ] {
        let template = Template::parse(&json!(text), "").unwrap();
        assert_eq!(sources(&template), [("", source)], "{text}");
        assert_eq!(template.root, Node::Alone(0), "{text}");
    }
}

#[test]
fn all_faults_are_told_with_their_places() {
    let document = json!({"a": "${x", "b/c": ["${}", "${'}"], "d": "$${"});
    let faults = Template::parse(&document, "/actions/1/payload").unwrap_err();
    let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, ["/actions/1/payload/a", "/actions/1/payload/b~1c/0", "/actions/1/payload/b~1c/1"]);
    // What could be read is judged all the same.
    let half = json!({"a": "${x} ${", "b": "${}", "c": "${y}"});
    let (template, faults) = Template::read(&half, "");
    assert_eq!((sources(&template), faults.len()), (vec![("/a", "x"), ("/c", "y")], 2));
    let template = Template::parse(&json!(["${a}", "${b}", "x${c}"]), "").unwrap();
    let missing = |path: &str| Err(EvaluationFault::MissingField { path: path.to_owned() });
    let faults = template.render(&[missing("a.b"), Ok(json!(1)), missing("c.d")]).unwrap_err();
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["/0: there is no field a.b", "/2: there is no field c.d"]);
    assert_eq!(template.render(&[]).unwrap_err().len(), 3);
}

#[test]
fn the_fixed_parts_of_a_text_are_known() {
    for (text, shortest) in [
        ("a ${x}b${y}c", Some(("a ", "a bc"))),
        ("${x}-a", Some(("", "-a"))),
        ("$${${x}", Some(("${", "${"))),
        ("${x}", None),
        ("plain", None),
    ] {
        let template = Template::parse(&json!(text), "").unwrap();
        let met = template.shortest();
        let met = met.as_ref().map(|(before, all)| (*before, all.as_str()));
        assert_eq!(met, shortest, "{text}");
    }
}

#[test]
fn what_is_rendered_is_bounded() {
    let many = json!(vec!["${a}"; MAX_EXPRESSIONS + 1]);
    assert!(Template::parse(&many, "").is_err());
    let template = Template::parse(&json!(["${a}", "${a}", "${a}"]), "").unwrap();
    let answers = |size: usize| vec![Ok(json!("x".repeat(size))); 3];
    assert!(template.render(&answers(80 * 1024)).is_ok());
    assert!(template.render(&answers(90 * 1024)).unwrap_err()[0].message.contains("262144"));
}

proptest! {
    #[test]
    fn a_text_without_a_placeholder_is_itself(text in "[^$]{0,40}") {
        let template = Template::parse(&json!(text), "").unwrap();
        prop_assert_eq!(template.render(&[]).unwrap(), json!(text));
    }

    #[test]
    fn no_text_makes_it_fail(text in "[${}'\"\\\\ra.]{0,40}") {
        _ = Template::parse(&json!(text), "");
    }

    #[test]
    fn an_escaped_text_is_itself(text in "[a${}]{0,20}") {
        let escaped = text.replace("${", "$${");
        // A dollar before the escape belongs to it.
        if !text.contains("$${") {
            let template = Template::parse(&json!(escaped), "").unwrap();
            prop_assert_eq!(template.render(&[]).unwrap(), json!(text));
        }
    }
}

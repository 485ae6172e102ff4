//! The documentation says what is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use taskflow_adapters::telemetry::{CATALOGUE, Kind};

/// Every metric has its row in the documentation, in the order of the catalogue,
/// and the documentation has no other.
#[test]
fn metrics_are_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = fs::read_to_string(path).unwrap();
    let mut expected = String::new();
    for entry in CATALOGUE {
        let kind = match entry.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = entry.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(expected, "| `{}` | {kind} | {} | {} |", entry.name, labels.join(", "), entry.help).unwrap();
    }
    let found: Vec<_> = text.lines().filter(|line| line.starts_with("| `taskflow_")).collect();
    assert_eq!(found.join("\n"), expected.trim_end(), "docs/metrics.md differs from the catalogue");
}

/// The names of metrics in a text; of a histogram's series, that of the histogram.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !word(c)).filter(|word| word.starts_with("taskflow_"));
    let histogram = |name: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known =
            |name: &str| CATALOGUE.iter().any(|entry| entry.name == name && entry.kind == Kind::Histogram);
        base.filter(|base| known(base)).unwrap_or(name).to_owned()
    };
    words.map(histogram).collect()
}

/// The dashboard and the alerts ask for metrics that exist, by labels that they have.
#[test]
fn dashboards_and_alerts_ask_for_what_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let dashboard = fs::read_to_string(folder.join("grafana/taskflow.json")).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert_eq!(parsed["uid"], "taskflow");
    let panels = parsed["panels"].as_array().unwrap();
    assert!(panels.iter().all(|panel| panel["type"] == "row" || !panel["targets"][0]["expr"].is_null()));
    let alerts = fs::read_to_string(folder.join("prometheus/taskflow-rules.yml")).unwrap();
    assert_eq!(alerts.matches("- alert: ").count(), alerts.matches("summary: ").count());
    assert_eq!(alerts.matches("- alert: ").count(), alerts.matches("expr: ").count());
    for (file, text) in [("the dashboard", &dashboard), ("the alerts", &alerts)] {
        let asked = metrics_in(text);
        assert!(asked.len() > 5, "{file}: {asked:?}");
        for name in asked {
            let entry = CATALOGUE.iter().find(|entry| entry.name == name);
            assert!(entry.is_some(), "{file} asks for {name}, which is no metric");
        }
    }
    for (name, label) in selectors(&alerts).into_iter().chain(selectors(&dashboard)) {
        let entry = CATALOGUE.iter().find(|entry| name.starts_with(entry.name));
        let labels = entry.map_or(&[][..], |entry| entry.labels);
        assert!(labels.contains(&label.as_str()), "{name} has no label {label}");
    }
}

/// Each metric that is asked for with a label, and the label.
fn selectors(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("taskflow_") {
        let rest = &text[at..];
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let Some(selector) = rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split('}').next())
        else {
            continue;
        };
        let labels = selector.split(',').filter_map(|matcher| matcher.split(['=', '!']).next());
        found.extend(labels.map(|label| (name.clone(), label.to_owned())));
    }
    assert!(!found.is_empty());
    found
}

/// Every test that the table of promises names is there: `module::test`, or a module.
#[test]
fn promises_are_held_by_tests_that_exist() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(top.join("docs/architecture.md")).unwrap();
    let table = text.split_once("## What is promised").unwrap().1;
    let mut sources = Vec::new();
    for place in ["tests/it", "tests/src/contract", "crates/domain/src"] {
        collect(&top.join(place), &mut sources);
    }
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| # "));
    let mut names = BTreeSet::new();
    for row in rows {
        let held_by = row.rsplit_once(" | ").unwrap().1;
        names.extend(held_by.split('`').skip(1).step_by(2).map(ToOwned::to_owned));
    }
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        let (module, test) = name.split_once("::").unwrap_or((&name, ""));
        let mut of_module =
            sources.iter().filter(|(path, _)| path.split(['/', '.']).any(|part| part == module));
        let found = of_module.any(|(_, text)| text.contains(&format!("fn {test}")));
        assert!(found, "docs/architecture.md names {name}, and there is no such test");
    }
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push((path.to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
}

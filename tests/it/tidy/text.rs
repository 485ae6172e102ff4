//! What a source file may look like and may contain.

use super::{Source, none, sources};

/// The longest file that somebody still reads as a whole.
const MOST_LINES: usize = 400;

/// The rule files themselves name what they forbid.
const RULES: &str = "tests/it/tidy/";

fn is_test(source: &Source) -> bool {
    ["tests/", "checker/"].iter().any(|top| source.path.starts_with(top))
        || source.path.contains("/src/") && source.path.contains("/tests/")
}

#[test]
fn files_are_short() {
    let long = sources().into_iter().map(|source| (source.text.lines().count(), source.path));
    let findings: Vec<_> = long
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    none("a file has at most 400 lines: split it by verb", &findings);
}

#[test]
fn modules_say_what_they_answer_for() {
    let findings: Vec<_> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path)
        .collect();
    none("a module begins with `//! ` and what it answers for", &findings);
}

#[test]
fn nothing_is_left_half_done() {
    let forbidden = ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "FIXME", "XXX", "TODO", "#[allow("];
    none("nothing is left half done or silenced", &find(&forbidden, |_| true));
}

#[test]
fn tests_wait_for_signals_not_for_time() {
    let forbidden = ["thread::sleep(", "time::sleep(", "time::sleep;"];
    // The simulation's time is virtual: it waits for nothing.
    let real = |source: &Source| is_test(source) && !source.path.starts_with("tests/src/sim/");
    none("a test does not sleep", &find(&forbidden, real));
}

#[test]
fn sql_is_in_the_stores() {
    let statements = [
        "\"SELECT ",
        "\"INSERT INTO ",
        "\"UPDATE ",
        "\"DELETE FROM ",
        "\"select ",
        "\"insert into ",
        "\"update ",
        "\"delete from ",
        "sqlx::",
        "sea_orm",
    ];
    let elsewhere = |source: &Source| {
        !source.path.starts_with("crates/adapters/src/store/")
            && !source.path.starts_with("migrations/")
            && !is_test(source)
    };
    none("only the stores talk to databases", &find(&statements, elsewhere));
}

#[test]
fn http_is_in_the_rest_adapter() {
    let elsewhere = |source: &Source| {
        !source.path.starts_with("crates/adapters/src/rest/")
            && !source.path.starts_with("crates/protocol/")
            && !is_test(source)
    };
    none("only the REST adapter uses axum", &find(&["axum::", "use axum"], elsewhere));
}

#[test]
fn the_environment_is_read_in_one_place() {
    let elsewhere = |source: &Source| !source.path.starts_with("crates/app/src/config/") && !is_test(source);
    none("only the configuration reads the environment", &find(&["env::var", "env::vars"], elsewhere));
}

#[test]
fn metrics_are_named_in_one_place() {
    let prefixes = ["er!(\"taskflow_", "ge!(\"taskflow_", "am!(\"taskflow_", "= \"taskflow_"];
    let elsewhere = |source: &Source| {
        source.path != "crates/application/src/meter.rs"
            && source.path != "crates/adapters/src/telemetry/mod.rs"
            && !is_test(source)
    };
    none("metrics are named where the catalogue finds them", &find(&prefixes, elsewhere));
}

/// Every line of the chosen files that contains one of the texts.
fn find(texts: &[&str], chosen: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| !source.path.starts_with(RULES) && chosen(source)) {
        for (number, line) in source.text.lines().enumerate() {
            if texts.iter().any(|text| line.contains(text)) {
                findings.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    findings
}

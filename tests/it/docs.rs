//! The documentation says what is.

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

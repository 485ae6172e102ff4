//! The shape of the code, held by tests instead of by reviewers.

mod arrows;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

/// The directory that everything is in.
fn top() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// A source file: its path from the top, with forward slashes, and its text.
struct Source {
    path: String,
    text: String,
}

/// All Rust sources of the project, in the order of their paths.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for directory in ["checker", "crates", "migrations", "tests"] {
        collect(&top().join(directory), &mut found);
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn collect(directory: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            if path.file_name().unwrap() != "target" {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(top()).unwrap().to_str().unwrap().replace('\\', "/");
            found.push(Source { path, text });
        }
    }
}

/// Fails with all findings at once.
fn none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

//! The contract suite on the stores in memory. `TASKFLOW_PLANTED` names a defect
//! that they have then.

use anyhow::Result;
use taskflow_application::memory::MemoryStore;
use taskflow_application::ports::Stores;
use taskflow_tests::planted::{Bug, plant};
use taskflow_tests::process::variable;

/// How many of the planted defects must be seen.
const SEEN: usize = 12;

#[expect(clippy::unused_async, reason = "the suite awaits the making of a store")]
async fn make() -> Result<(Stores, ())> {
    let named = |bug: &Bug| variable("TASKFLOW_PLANTED").is_some_and(|name| name == format!("{bug:?}"));
    Ok((plant(MemoryStore::stores(), Bug::ALL.into_iter().find(named)), ()))
}

taskflow_tests::contract_suite!(super::make);

/// The suite, run as a process of its own with each defect, sees it in so many cases.
#[test]
fn planted_bugs_are_seen() {
    let itself = std::env::current_exe().unwrap();
    let mut seen = 0;
    for bug in Bug::ALL {
        // With some of them a case goes on for ever.
        let mut suite = std::process::Command::new("timeout");
        suite.arg("10").arg(&itself).arg("contract_memory::");
        suite.args(["--skip", "planted_bugs", "--skip", "every_case"]);
        let output = suite.env("TASKFLOW_PLANTED", format!("{bug:?}")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let mut failed: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("test contract_memory::")?.strip_suffix(" ... FAILED"))
            .collect();
        failed.sort_unstable();
        if let Some(first) = failed.first() {
            seen += 1;
            println!("report: planted {bug:?} | contract, {} of its cases | `{first}`", failed.len());
        } else if output.status.code() == Some(124) {
            seen += 1;
            println!("report: planted {bug:?} | contract, a case of which never ends |");
        }
    }
    assert!(seen >= SEEN, "only {seen} are seen");
}

/// A case that nobody lists is run by nobody.
#[test]
fn every_case_is_listed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/contract");
    let list = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
    let listed: Vec<&str> =
        list.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| word.contains('_')).collect();
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("pub async fn ") else { continue };
            let case = rest.split('(').next().unwrap_or_default();
            assert!(listed.contains(&case), "{case} of {} is not listed in mod.rs", path.display());
        }
    }
}

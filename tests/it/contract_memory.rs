//! The contract suite on the stores in memory.

use anyhow::Result;
use taskflow_application::memory::MemoryStore;
use taskflow_application::ports::Stores;

#[expect(clippy::unused_async, reason = "the suite awaits the making of a store")]
async fn make() -> Result<(Stores, ())> {
    Ok((MemoryStore::stores(), ()))
}

taskflow_tests::contract_suite!(super::make);

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

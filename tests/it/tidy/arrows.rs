//! Which crate may use which: the layers, and the libraries that belong to one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::{none, top};

/// Each crate of the project, and the ones that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("taskflow-domain", &[]),
    ("taskflow-application", &["taskflow-domain"]),
    ("taskflow-protocol", &["taskflow-domain"]),
    ("taskflow-worker", &["taskflow-domain", "taskflow-protocol"]),
    ("taskflow-client", &["taskflow-domain", "taskflow-protocol"]),
    ("taskflow-cli", &["taskflow-client", "taskflow-domain", "taskflow-protocol"]),
    ("taskflow-migrations", &[]),
    ("taskflow-checker", &[]),
    (
        "taskflow-adapters",
        &[
            "taskflow-application",
            "taskflow-domain",
            "taskflow-migrations",
            "taskflow-protocol",
            "taskflow-worker",
        ],
    ),
    (
        "taskflow",
        &[
            "taskflow-adapters",
            "taskflow-application",
            "taskflow-cli",
            "taskflow-client",
            "taskflow-domain",
            "taskflow-migrations",
            "taskflow-protocol",
            "taskflow-worker",
        ],
    ),
    (
        "taskflow-tests",
        &[
            "taskflow-adapters",
            "taskflow-application",
            "taskflow-checker",
            "taskflow-client",
            "taskflow-domain",
            "taskflow-migrations",
            "taskflow-protocol",
            "taskflow-worker",
        ],
    ),
];

/// Libraries that only some crates may use.
const ONLY: &[(&str, &[&str])] = &[
    ("sea-orm", &["taskflow-adapters"]),
    ("sea-orm-migration", &["taskflow-adapters", "taskflow-migrations"]),
    ("sqlx", &["taskflow-adapters", "taskflow-tests"]),
    ("axum", &["taskflow-adapters", "taskflow-protocol", "taskflow-tests"]),
    ("hyper", &["taskflow-adapters", "taskflow-client"]),
    (
        "tokio",
        &[
            "taskflow",
            "taskflow-adapters",
            "taskflow-application",
            "taskflow-cli",
            "taskflow-client",
            "taskflow-migrations",
            "taskflow-tests",
            "taskflow-worker",
        ],
    ),
    ("anyhow", &["taskflow", "taskflow-cli", "taskflow-tests"]),
];

/// Each member's dependencies, without those of its own tests.
fn members() -> BTreeMap<String, BTreeSet<String>> {
    let beside = ["checker", "migrations", "tests"];
    let mut manifests: Vec<_> = beside.iter().map(|name| top().join(name).join("Cargo.toml")).collect();
    for entry in fs::read_dir(top().join("crates")).unwrap().map(Result::unwrap) {
        manifests.push(entry.path().join("Cargo.toml"));
    }
    let read = |path| {
        let text = fs::read_to_string(path).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        let used = ["dependencies", "build-dependencies"].into_iter().filter_map(|part| manifest.get(part));
        (name, used.flat_map(|part| part.as_table().unwrap().keys().cloned()).collect())
    };
    manifests.into_iter().map(read).collect()
}

#[test]
fn the_layers_point_one_way() {
    let members = members();
    let mut findings = Vec::new();
    for (name, used) in &members {
        let Some((_, may)) = MAY_USE.iter().find(|(known, _)| known == name) else {
            findings.push(format!("{name} is not in the table of layers"));
            continue;
        };
        let own = used.iter().filter(|used| members.contains_key(*used));
        for wrong in own.filter(|used| !may.contains(&used.as_str())) {
            findings.push(format!("{name} uses {wrong}"));
        }
    }
    none("a crate may use only the layers below it", &findings);
}

#[test]
fn libraries_stay_in_their_layer() {
    let mut findings = Vec::new();
    for (name, used) in members() {
        for (library, may) in ONLY {
            if used.contains(*library) && !may.contains(&name.as_str()) {
                findings.push(format!("{name} uses {library}"));
            }
        }
    }
    none("a library is used only where it belongs", &findings);
}

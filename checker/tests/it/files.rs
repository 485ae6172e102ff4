//! What is written can be read again.

use std::{fs, process};

use taskflow_checker::{judge, read};

use crate::story;

#[test]
fn a_history_survives_its_files() {
    let directory = std::env::temp_dir().join(format!("taskflow-checker-{}", process::id()));
    let history = story::clean();
    read::write(&directory, &history).unwrap();
    let again = read::read(&directory).unwrap();
    let output = process::Command::new(env!("CARGO_BIN_EXE_taskflow-checker")).arg(&directory).output();
    fs::write(directory.join("jobs.jsonl"), "{}").unwrap();
    let broken = read::read(&directory);
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(again, history);
    assert!(judge(&again).is_empty());
    assert!(broken.unwrap_err().to_string().contains("jobs.jsonl, line 1"));
    let output = output.unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("verdict: right"));
}

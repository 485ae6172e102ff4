//! `taskflow-checker <directory>…`: reads what runs left behind and says for each
//! whether it is right. The exit code is 1 if any is not.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use taskflow_checker::{History, Violation, judge, read, rules};

fn main() -> ExitCode {
    let directories: Vec<_> = env::args_os().skip(1).collect();
    let mut out = io::stdout().lock();
    if directories.is_empty() {
        return if usage(&mut out).is_ok() { ExitCode::from(2) } else { ExitCode::FAILURE };
    }
    let mut right = true;
    for directory in directories {
        match check(Path::new(&directory), &mut out) {
            Ok(good) => right &= good,
            Err(error) => {
                drop(writeln!(io::stderr(), "{error}"));
                return ExitCode::from(2);
            }
        }
    }
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "usage: taskflow-checker <directory with .jsonl files>…\n\nrules:")?;
    for rule in rules::ALL {
        writeln!(out, "  {:<4} {}", rule.name, rule.says)?;
    }
    Ok(())
}

fn check(directory: &Path, out: &mut impl Write) -> Result<bool, Box<dyn std::error::Error>> {
    let history = read::read(directory)?;
    let violations = judge(&history);
    report(directory, &history, &violations, out)?;
    Ok(violations.is_empty())
}

fn report(
    directory: &Path,
    history: &History,
    violations: &[Violation],
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} calls, {} jobs, {} attempts, {} entries, {} leases, {} executions",
        directory.display(),
        history.calls.len(),
        history.jobs.len(),
        history.attempts.len(),
        history.events.len(),
        history.leases.len(),
        history.effects.len()
    )?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for violation in violations {
        *counts.entry(violation.rule).or_default() += 1;
        writeln!(out, "  {violation}")?;
    }
    for rule in rules::ALL {
        writeln!(out, "  {:<4} {:>5}  {}", rule.name, counts.get(rule.name).unwrap_or(&0), rule.says)?;
    }
    writeln!(out, "  verdict: {}", if violations.is_empty() { "right" } else { "WRONG" })
}

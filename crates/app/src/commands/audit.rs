//! `taskflow audit verify`: whether the audit is whole.

use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgMatches, Command};
use serde_json::json;
use taskflow_application::audit::{Audit, Seal};
use taskflow_application::ports::AuditHead;

use crate::config::Config;
use crate::database::Database;
use crate::wiring::Engine;

/// Its part of the command line.
pub(crate) fn command() -> Command {
    let verify = Command::new("verify")
        .about("Reads the whole audit from the database and checks every link of its chain")
        .long_about(
            "Reads the whole audit from the database and checks every link of its chain. Prints one JSON \
             object on standard output, and ends with 1 if the audit is not whole. Its `head` can be kept \
             elsewhere: with it, a later check also finds a chain that was made anew.",
        )
        .arg(
            Arg::new("head")
                .long("head")
                .value_name("SEQ:HASH")
                .help("An end of the chain that an earlier check printed, which must still be in it"),
        );
    Command::new("audit")
        .about("Checks the audit")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(verify)
}

fn head(text: &str) -> Option<AuditHead> {
    let (seq, hash) = text.split_once(':')?;
    let mut seal = [0; 32];
    if hash.len() != 64 || !hash.is_ascii() {
        return None;
    }
    for (at, byte) in seal.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(AuditHead { seq: seq.parse().ok()?, seal: Seal(seal) })
}

/// Runs to the end and prints what was found.
pub(crate) async fn run(config: &Config, matches: &ArgMatches) -> Result<()> {
    let pinned = matches.subcommand().and_then(|(_, matches)| matches.get_one::<String>("head"));
    let pinned = match pinned {
        None => None,
        Some(text) => Some(head(text).with_context(|| format!("`{text}` is not SEQ:HASH"))?),
    };
    // It only reads: an empty database that it had just made would be whole.
    let engine = Engine::looking(Database::open_to_look(&config.database).await?);
    let found = Audit::new(engine.world.clone()).verify(pinned).await;
    engine.database.close().await;
    let found = found?;
    let broken = found.broken.map(|(seq, why)| json!({ "seq": seq, "why": why }));
    let head = format!("{}:{}", found.head.seq, found.head.seal);
    println!("{}", json!({ "entries": found.entries, "head": head, "broken": broken }));
    match found.broken {
        None => Ok(()),
        Some((seq, why)) => bail!("the audit is not whole from entry {seq} on: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_back() {
        let end = AuditHead { seq: 7, seal: Seal([0xa5; 32]) };
        assert_eq!(head(&format!("{}:{}", end.seq, end.seal)), Some(end));
        for none in ["", "7", "7:", "x:00", &format!("7:{}", "é".repeat(32))] {
            assert_eq!(head(none), None, "{none}");
        }
    }
}

//! `taskflow bench`: what does this database give?

use std::ops::RangeInclusive;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::bench::{self, BenchOptions, Enqueue};
use crate::config::Config;

/// The longest text in a payload: with its braces it is as long as one may be.
const MAX_TEXT: i64 = 262_144 - 11;

/// Its part of the command line.
pub(crate) fn command() -> Command {
    let within =
        |name: &'static str, range: RangeInclusive<i64>, default: &'static str, help: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name("N")
                .default_value(default)
                .value_parser(value_parser!(u32).range(range))
                .help(help)
        };
    let number = |name, default, help| within(name, 1..=100_000_000, default, help);
    Command::new("bench")
        .about("Measures the engine on this database, in a schema of its own")
        .long_about(
            "Measures the engine on this database, in a schema (SQLite: a file) of its own that is removed \
             afterwards. Builtin noop jobs go through the real path, with all limits, attempts and histories. \
             Prints one JSON object on standard output, progress on standard error.",
        )
        .arg(number("jobs", "100000", "How many jobs"))
        .arg(number("tenants", "100", "Over how many tenants"))
        .arg(within("payload-bytes", 0..=MAX_TEXT, "64", "How long the text in each payload is"))
        .arg(number("callers", "4", "How many callers submit at once"))
        .arg(number("slots", "3000", "How many jobs run at once"))
        .arg(number("batch", "1000", "How many jobs one claim or one report may hold"))
        .arg(
            Arg::new("enqueue")
                .long("enqueue")
                .value_parser(value_parser!(Enqueue))
                .default_value("batch")
                .help("Whether callers submit one by one or in batches"),
        )
}

fn options(matches: &ArgMatches) -> BenchOptions {
    // Every argument has a default, so the other default is never seen.
    let number = |name: &str| matches.get_one::<u32>(name).copied().unwrap_or(1);
    BenchOptions {
        jobs: number("jobs"),
        tenants: number("tenants"),
        payload_bytes: number("payload-bytes"),
        callers: number("callers"),
        slots: number("slots"),
        batch: number("batch"),
        enqueue: matches.get_one::<Enqueue>("enqueue").copied().unwrap_or(Enqueue::Batch),
    }
}

/// Runs to the end and prints the figures.
pub(crate) async fn run(config: &Config, matches: &ArgMatches) -> Result<()> {
    let figures = bench::run(&options(matches), &config.database).await?;
    println!("{figures}");
    Ok(())
}

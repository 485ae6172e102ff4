//! The command line.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::{Layers, Need, flags, given, hidden};

/// The whole command line.
pub(crate) fn command() -> Command {
    Command::new("taskflow")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A multi-tenant job automation engine")
        .long_about(
            "A multi-tenant job automation engine.\n\nSettings come from flags, over the environment, over \
             taskflow.toml, over defaults; `taskflow config` shows what is in force and why.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("The file with settings [env: TASKFLOW_CONFIG] [default: taskflow.toml, if it exists]")
                .help_heading("Settings")
                .global(true),
        )
        .args(flags())
        .after_long_help(hidden())
        .subcommand(Command::new("up").about("Runs everything in one process: API, worker and scheduler"))
        .subcommand(Command::new("api").about("Runs the API alone; needs PostgreSQL"))
        .subcommand(Command::new("worker").about("Runs worker and scheduler alone; needs PostgreSQL"))
        .subcommand(Command::new("migrate").about("Brings the database's schema up to date, and ends"))
        .subcommand(crate::commands::audit::command())
        .subcommand(crate::commands::bench::command())
        .subcommand(crate::commands::doctor::command())
        .subcommand(
            Command::new("config")
                .about("Shows what is in force and where each value came from")
                .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("As one JSON object")),
        )
}

/// What a command needs of the configuration; `None` if there is no such command.
pub(crate) fn need(command: &str) -> Option<Need> {
    match command {
        "up" => Some(Need::Listener),
        "api" => Some(Need::SharedListener),
        "worker" => Some(Need::SharedDatabase),
        "migrate" | "bench" | "audit" | "doctor" => Some(Need::Nothing),
        _ => None,
    }
}

/// What was given to a command.
pub(crate) fn layers(matches: &ArgMatches) -> Layers {
    Layers::gather(given(matches), matches.get_one::<PathBuf>("config").cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        command().debug_assert();
        for known in command().get_subcommands().filter(|known| known.get_name() != "config") {
            assert!(need(known.get_name()).is_some(), "{}", known.get_name());
        }
    }

    #[test]
    fn flags_reach_the_configuration() {
        let line = ["taskflow", "--listen", "127.0.0.1:1", "up", "--allow-unauthenticated", "--lease-ms=9"];
        let matches = command().try_get_matches_from(line).unwrap();
        let (_, matches) = matches.subcommand().unwrap();
        let expected = [
            ("http.listen", "127.0.0.1:1"),
            ("http.allow_unauthenticated", "true"),
            ("worker.lease_ms", "9"),
        ];
        assert_eq!(given(matches), expected.map(|(key, text)| (key, text.to_owned())));
    }

    #[test]
    fn help_is_stable() {
        insta::assert_snapshot!(command().term_width(100).render_long_help());
    }
}

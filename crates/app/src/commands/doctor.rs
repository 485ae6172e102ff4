//! `taskflow doctor`: whether the database is in order, and what mends it if not.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;
use taskflow_adapters::system::SystemClock;
use taskflow_application::maintain::{Maintain, Retention};
use taskflow_application::ports::{Check, Clock as _, Proof};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::database::Database;
use crate::wiring::Engine;
use crate::{loops, secrets};

/// A clock that is further from the database's than this deserves a word.
const MUCH_SKEW: Duration = Duration::from_secs(1);

/// The name of the check of secrets that no key opens.
const LOST: &str = "lost_secrets";

/// A transaction that is open for longer keeps deleted rows in the way of claims.
const LONG: Duration = Duration::from_mins(1);

/// Its part of the command line.
pub(crate) fn command() -> Command {
    Command::new("doctor")
        .about("Compares all counters, limits and lanes with the jobs, and says what mends a fault")
        .long_about(
            "Compares all counters, limits and lanes with the jobs themselves, in one snapshot, while the \
             engine may run, and tries the keys of secrets on what is sealed. Prints a line for each check, \
             and ends with 1 if an invariant is broken. It reads every job that is kept, so on a long \
             history it takes a while.",
        )
        .arg(
            Arg::new("repair")
                .long("repair")
                .action(ArgAction::SetTrue)
                .help("Runs the sweep that every runner runs every ten seconds, and looks again"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("As one JSON object"))
}

/// What was found.
struct Findings {
    proof: Proof,
    skew: Duration,
    /// The age of the oldest transaction of the database, where there is such a thing.
    oldest: Option<Duration>,
    /// Where the key lies that seals secrets.
    place: secrets::Place,
    /// Whether another key, which only opens any more, still lies in the database or
    /// beside it.
    stays: bool,
    /// How the secrets that are kept stand to the keys.
    kept: secrets::Kept,
}

/// Runs to the end and prints what was found.
pub(crate) async fn run(config: &Config, matches: &ArgMatches) -> Result<()> {
    let stop = CancellationToken::new();
    let repair = matches.get_flag("repair");
    // A database that it had just made would be in order, and the wrong one.
    let database = Database::open_to_look(&config.database).await?;
    let engine = if repair {
        database.close().await;
        Engine::open(config, &stop).await?
    } else {
        Engine::looking(database)
    };
    let found = examine(&engine, config, repair).await;
    stop.cancel();
    engine.database.close().await;
    let found = found?;
    print!("{}", if matches.get_flag("json") { found.json() } else { found.text() });
    if found.holds() {
        return Ok(());
    }
    let broken = found.proof.broken().map(|(check, _)| check.name());
    let broken: Vec<_> = broken.chain((found.kept.lost > 0).then_some(LOST)).collect();
    bail!("not in order: {}", broken.join(", "))
}

async fn examine(engine: &Engine, config: &Config, repair: bool) -> Result<Findings> {
    if repair {
        let lease_ms = config.worker.lease_ms;
        Maintain::new(engine.world.clone(), Retention::default(), lease_ms).sweep().await?;
    }
    loops::follow(&engine.database, &engine.clock).await.context("the database's clock cannot be read")?;
    let proof = engine.world.stores.jobs.proof(engine.world.clock.now()).await?;
    let skew = engine.clock.now().micros_since(SystemClock::wall());
    let skew = Duration::from_micros(skew.unsigned_abs());
    let ids = engine.world.ids.clone();
    Ok(Findings {
        proof,
        skew,
        oldest: engine.database.oldest_transaction().await?,
        place: secrets::Place::of(config),
        stays: secrets::old_key_stays(config, &engine.database).await?,
        kept: secrets::kept(config, &engine.database, ids, engine.world.clock.now()).await?,
    })
}

impl Findings {
    /// Whether nothing is wrong that only an operator can mend.
    fn holds(&self) -> bool {
        self.proof.holds() && self.kept.lost == 0
    }

    fn json(&self) -> String {
        let check = |check: Check| json!({"check": check.name(), "broken": self.proof.times(check), "invariant": check.is_invariant()});
        let secrets = json!({"check": LOST, "broken": self.kept.lost, "invariant": true});
        let checks: Vec<_> = Check::ALL.map(check).into_iter().chain([secrets]).collect();
        let secrets::Kept { looked_at, lost, old, all } = self.kept;
        let found = json!({
            "holds": self.holds(),
            "checks": checks,
            "clock_skew_ms": u64::try_from(self.skew.as_millis()).unwrap_or(u64::MAX),
            "oldest_transaction_ms": self.oldest.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            "secrets_key": self.place.name(),
            "old_secrets_key": self.stays,
            "kept_secrets": {"looked_at": looked_at, "lost": lost, "old": old, "all": all},
        });
        format!("{found}\n")
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for check in Check::ALL {
            let times = self.proof.times(check);
            let told = match (times, check.is_invariant()) {
                (0, _) => "ok",
                (_, true) => "BROKEN",
                (_, false) => "look",
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{told:<7}{:<16}{times:>8}  {}", check.name(), meaning(check));
            if times > 0 {
                let _ = writeln!(text, "{:>33}{}", "", repair(check));
            }
        }
        self.add_kept(&mut text);
        let told = |bad| if bad { "look" } else { "ok" };
        let skew = self.skew.as_millis();
        let name = "clock_skew";
        let meaning = "ms between this machine's clock and the database's, which counts";
        let _ = writeln!(text, "{:<7}{name:<16}{skew:>8}  {meaning}", told(self.skew > MUCH_SKEW));
        if let Some(age) = self.oldest {
            let name = "oldest_open";
            let meaning = "ms that the oldest transaction of the database has been open";
            let _ = writeln!(text, "{:<7}{name:<16}{:>8}  {meaning}", told(age > LONG), age.as_millis());
        }
        let (bad, meaning) = self.secrets();
        let _ = writeln!(text, "{:<7}{:<16}{:>8}  {meaning}", told(bad), "secrets_key", self.place.name());
        text
    }
}

impl Findings {
    /// The lines of the secrets that are kept. Writing to a string cannot fail.
    fn add_kept(&self, text: &mut String) {
        let secrets::Kept { looked_at, lost, old, all } = self.kept;
        let of = if all { format!("of all {looked_at}") } else { format!("of the first {looked_at}") };
        let told = if lost > 0 { "BROKEN" } else { "ok" };
        let what = "kept secrets of rules, and of headers in rules and in jobs that have not ended,";
        let _ = writeln!(text, "{told:<7}{LOST:<16}{lost:>8}  {what} {of}, that no key opens");
        if lost > 0 {
            let repair =
                "add the key that sealed them to TASKFLOW_SECRETS_KEY, or put the rules with new secrets";
            let _ = writeln!(text, "{:>33}{repair}", "");
        }
        let _ =
            writeln!(text, "{:<7}{:<16}{old:>8}  the same that only an old key opens", "ok", "old_secrets");
    }

    /// Whether where the key of secrets lies deserves a word, and the word.
    const fn secrets(&self) -> (bool, &'static str) {
        match (self.place, self.stays) {
            (secrets::Place::Database, _) => (
                true,
                "holds the key that seals secrets: whoever has a dump of all of it can open them; set \
                 TASKFLOW_SECRETS_KEY",
            ),
            (_, true) => (true, "holds the key that seals secrets; one that was made before still opens"),
            _ => (false, "holds the key that seals secrets"),
        }
    }
}

const fn meaning(check: Check) -> &'static str {
    match check {
        Check::Places => "jobs that do not stand in exactly one place",
        Check::QueueCounters => "queues whose counter differs from their running jobs",
        Check::LimitCounters => "limits of tenants whose counter differs from their running jobs",
        Check::LaneSettings => "lanes that do not carry what their tenant and queue set",
        Check::Depths => "queues and states whose kept number differs from the jobs",
        Check::SleepingLanes => "lanes asleep although jobs of them are due",
        Check::BlockedLanes => "lanes held back although no limit is full",
        Check::ExceededLimits => "limits that more jobs run under than they allow",
        Check::LostLeases => "jobs whose lease ended more than a minute ago",
        Check::OverdueJobs => "scheduled jobs that were due more than a minute ago",
    }
}

/// What mends it.
const fn repair(check: Check) -> &'static str {
    match check {
        Check::Places => "restore the jobs from a backup, and report it: no part of the engine does this",
        Check::QueueCounters | Check::LimitCounters | Check::SleepingLanes | Check::BlockedLanes => {
            "the sweep of any runner mends it within ten seconds, `--repair` at once; if it comes back, report it"
        }
        Check::LaneSettings => "set the tenant's and the queue's limits again (PUT), and report it",
        Check::Depths => "only figures are wrong, no limit stands on them; report it",
        Check::ExceededLimits => "nothing, if a limit was lowered below what ran: it ends with these jobs",
        Check::LostLeases | Check::OverdueJobs => {
            "no runner is at work: start `taskflow worker` or `taskflow up`"
        }
    }
}

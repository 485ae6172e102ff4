//! The automation rules of a run, and what happens for them to act upon.

use super::plan::{Action, Deed, Plan, QUEUES, TENANTS};
use super::rng::Rng;

/// A rule as it is asked for.
#[derive(Clone, Debug)]
pub struct RuleWish {
    /// Tells it apart.
    pub number: u32,
    /// Whose.
    pub tenant: usize,
    /// What starts it.
    pub starts: Starts,
    /// Whether it acts for the tenants of [`MEANT`] and not for its own.
    pub for_each: bool,
    /// Where its jobs wait.
    pub queue: usize,
    /// How long they take.
    pub job_ms: u64,
}

/// What starts a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starts {
    /// The clock.
    Clock {
        /// Every so many seconds, of which a minute has a whole number.
        every_s: u64,
        /// The word for what happens while the previous instance runs.
        overlap: &'static str,
        /// The word for what happens to missed occurrences.
        misfire: &'static str,
        /// How late an occurrence may be fired, in milliseconds; a month if absent.
        max_late_ms: Option<u64>,
    },
    /// A delivery.
    Delivery,
    /// An event from outside.
    Event,
    /// The end of a job: of any, or of one that no rule made.
    End {
        /// Whether jobs of rules count, so that the rule follows itself.
        chained: bool,
        /// Whether it is a success, or any end.
        any: bool,
    },
}

/// Something for rules to act upon.
#[derive(Clone, Copy, Debug)]
pub struct Tiding {
    /// What its sender calls it.
    pub id: u32,
    /// The rule whose address is called, or the tenant that is told.
    pub to: Receiver,
    /// Whether it is sent again although it was answered.
    pub doubled: bool,
}

/// Whom something is sent to.
#[derive(Clone, Copy, Debug)]
pub enum Receiver {
    /// The address of that rule; with a good signature, or without.
    Rule(u32, bool),
    /// That tenant.
    Tenant(usize),
}

/// The tenants for which rules that act for many do so.
pub(super) const MEANT: [usize; 2] = [0, 2];

/// The words for what happens while the previous instance runs; the usual one twice.
const OVERLAPS: [&str; 5] = ["allow", "allow", "skip", "queue_one", "replace"];
/// The words for what happens to missed occurrences.
const MISFIRES: [&str; 3] = ["skip", "run_once", "run_all"];

impl Plan {
    /// Adds rules, by chance of their own, so that everything else stays.
    pub(super) fn plan_rules(&mut self) {
        let mut rng = Rng::new(self.seed, 77);
        let rules = rng.between(1, 5) as u32;
        let (mut called, mut follows) = (Vec::new(), false);
        for number in 0..rules {
            let mut wish = wish(number, &mut rng);
            // Two rules that follow each other would double the jobs ten times over.
            if let Starts::End { chained, .. } = &mut wish.starts {
                *chained &= !follows;
                follows |= *chained;
            }
            if wish.starts == Starts::Delivery {
                called.push(number);
            }
            let at_ms = if rng.percent(70) { 0 } else { rng.between(500, 8_000) };
            self.actions.push(Action { at_ms, deed: Deed::PutRule(wish) });
        }
        for id in 0..rng.between(2, 14) as u32 {
            let to = if called.is_empty() || rng.percent(50) {
                Receiver::Tenant(rng.between(0, TENANTS as u64) as usize)
            } else {
                Receiver::Rule(*rng.pick(&called), rng.percent(85))
            };
            let tiding = Tiding { id, to, doubled: rng.percent(30) };
            let at_ms = rng.between(2_000, self.ends_ms - 5_000);
            self.actions.push(Action { at_ms, deed: Deed::Tell(tiding) });
        }
    }

    /// The rule of that number.
    pub fn rule(&self, number: u32) -> Option<&RuleWish> {
        self.actions.iter().find_map(|action| match &action.deed {
            Deed::PutRule(wish) if wish.number == number => Some(wish),
            _ => None,
        })
    }

    /// Whether there are rules, or events for them.
    pub fn has_rules(&self) -> bool {
        self.actions.iter().any(|action| matches!(action.deed, Deed::PutRule(_) | Deed::Tell(_)))
    }
}

fn wish(number: u32, rng: &mut Rng) -> RuleWish {
    let starts = match rng.between(0, 10) {
        0..=4 => Starts::Clock {
            every_s: *rng.pick(&[2, 3, 5, 10, 15]),
            overlap: OVERLAPS[rng.between(0, 5) as usize],
            misfire: MISFIRES[rng.between(0, 3) as usize],
            max_late_ms: rng.percent(50).then(|| rng.between(2_000, 9_000)),
        },
        5 | 6 => Starts::Delivery,
        7 => Starts::Event,
        _ => Starts::End { chained: rng.percent(10), any: rng.percent(40) },
    };
    RuleWish {
        number,
        tenant: rng.between(0, TENANTS as u64) as usize,
        for_each: starts != Starts::Delivery && rng.percent(35),
        starts,
        queue: rng.between(0, QUEUES as u64) as usize,
        job_ms: if rng.percent(40) { rng.between(500, 8_000) } else { 0 },
    }
}

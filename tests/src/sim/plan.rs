//! What happens in a run, made from a seed before it begins, so that parts of it
//! can be left out to find the smallest run that still fails.

use super::plan_rules::{RuleWish, Tiding};
use super::rng::Rng;

/// A process: engine nodes first, then pulling workers.
pub type Process = usize;

/// What happens in a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all chance in the run comes from.
    pub seed: u64,
    /// Engine processes.
    pub nodes: usize,
    /// Pulling workers.
    pub remotes: usize,
    /// How long a lease lasts.
    pub lease_ms: u64,
    /// When the last of the plan has happened, in milliseconds.
    pub ends_ms: u64,
    /// What clients and operators do.
    pub actions: Vec<Action>,
    /// What goes wrong.
    pub troubles: Vec<Trouble>,
}

/// Something that a client or an operator does.
#[derive(Clone, Debug)]
pub struct Action {
    /// When, in milliseconds from the start.
    pub at_ms: u64,
    /// What.
    pub deed: Deed,
}

/// What a client or an operator does. Numbers name the submits of the plan.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Submits a job.
    Submit(Wish),
    /// Cancels the job of that submit.
    Cancel(u32),
    /// Holds it.
    Pause(u32),
    /// Lets it go.
    Resume(u32),
    /// Sends it through again.
    Redrive(u32),
    /// Gives it another time.
    Move(u32, u64),
    /// Sets a queue.
    SetQueue(usize, QueueWish),
    /// Sets a tenant.
    SetTenant(usize, TenantWish),
    /// Makes a rule.
    PutRule(RuleWish),
    /// Sends something for rules to act upon.
    Tell(Tiding),
}

/// A job as it is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Tells it apart.
    pub number: u32,
    /// Whose.
    pub tenant: usize,
    /// Where.
    pub queue: usize,
    /// Whether it has an idempotency key, so that the client may ask again.
    pub keyed: bool,
    /// Whether the client asks again at once, although it was answered.
    pub doubled: bool,
    /// Whether a pulling worker runs it.
    pub pulled: bool,
    /// How much later than now it is to run.
    pub delay_ms: u64,
    /// Its retry budget.
    pub max_attempts: u16,
    /// Its retry delay.
    pub backoff_ms: u64,
    /// 0 to 4.
    pub priority: u8,
    /// What its attempts do, one after the other; the last one for all that follow.
    pub attempts: Vec<Conduct>,
}

/// What one attempt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Succeeds after so many milliseconds.
    Succeed(u64),
    /// Fails after so many milliseconds.
    Fail(u64),
    /// Fails for good.
    FailForGood,
    /// Asks to be run later.
    Snooze(u64),
    /// Never ends by itself, and heeds no cancel.
    Hang,
    /// Takes its worker down.
    Kill,
}

/// Limits of a queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueWish {
    /// Jobs that may run at once.
    pub max_running: Option<u32>,
    /// Jobs of one tenant that may run at once.
    pub per_tenant: Option<u32>,
    /// Starts in two seconds.
    pub rate: Option<u32>,
    /// Held, and for how long.
    pub held_ms: Option<u64>,
}

/// Limits of a tenant.
#[derive(Clone, Copy, Debug, Default)]
pub struct TenantWish {
    /// Jobs that may run at once.
    pub max_running: Option<u32>,
    /// Held.
    pub paused: bool,
}

/// Something that goes wrong, from a time to a time in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub from_ms: u64,
    /// Until when.
    pub to_ms: u64,
    /// To whom; all where it is about the store.
    pub process: Process,
    /// What.
    pub kind: TroubleKind,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleKind {
    /// The process dies and comes back at the end.
    Crash,
    /// The process is told to go, and a new one comes at the end.
    Deploy,
    /// A pulling worker stands still.
    Freeze,
    /// The process reaches neither the store nor anybody else.
    Cut,
    /// Its messages take up to so many milliseconds.
    Slow(u64),
    /// So many of a hundred of its calls have no answer, done or not.
    Unsure(u64),
    /// So many of a hundred of its reports arrive a second time, later.
    Repeat(u64),
    /// Nobody reaches the store.
    Outage,
    /// The clock of the store jumps by so many milliseconds.
    Step(i64),
}

impl TroubleKind {
    /// The name of its class.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Deploy => "deploy",
            Self::Freeze => "freeze beyond the lease",
            Self::Cut => "partition",
            Self::Slow(_) => "delayed messages",
            Self::Unsure(_) => "unknown outcomes",
            Self::Repeat(_) => "duplicated messages",
            Self::Outage => "store outage",
            Self::Step(_) => "clock step",
        }
    }
}

/// How many tenants there are.
pub const TENANTS: usize = 3;
/// How many queues there are.
pub const QUEUES: usize = 3;

impl Plan {
    /// The plan of a seed: every second one has automation rules.
    pub fn new(seed: u64) -> Self {
        let mut plan = Self::of_jobs(seed);
        if seed % 2 == 1 {
            plan.plan_rules();
            plan.actions.sort_by_key(|action| action.at_ms);
        }
        plan
    }

    /// The plan of a seed without automation rules.
    pub fn of_jobs(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 0);
        let mut plan = Self {
            seed,
            nodes: rng.between(1, 4) as usize,
            remotes: rng.between(1, 4) as usize,
            lease_ms: 10_000,
            ends_ms: 45_000,
            actions: Vec::new(),
            troubles: Vec::new(),
        };
        plan.plan_jobs(&mut rng);
        plan.plan_controls(&mut rng);
        plan.plan_limits(&mut rng);
        plan.plan_troubles(&mut rng);
        plan.actions.sort_by_key(|action| action.at_ms);
        plan
    }

    fn plan_jobs(&mut self, rng: &mut Rng) {
        let jobs = rng.between(8, 40) as u32;
        // Poison spares the other jobs only so often, so most runs have none.
        let poison = rng.percent(15).then(|| rng.between(0, u64::from(jobs)) as u32);
        for number in 0..jobs {
            let attempts = match poison {
                Some(poison) if poison == number => vec![Conduct::Kill],
                _ => conduct(rng),
            };
            let wish = Wish {
                number,
                tenant: rng.between(0, TENANTS as u64) as usize,
                queue: rng.between(0, QUEUES as u64) as usize,
                keyed: rng.percent(50),
                doubled: rng.percent(15),
                pulled: rng.percent(40),
                delay_ms: if rng.percent(25) { rng.between(1, 15_000) } else { 0 },
                max_attempts: rng.between(1, 6) as u16,
                backoff_ms: rng.between(0, 3_000),
                priority: rng.between(0, 5) as u8,
                attempts,
            };
            let at_ms = rng.between(0, self.ends_ms * 2 / 3);
            self.actions.push(Action { at_ms, deed: Deed::Submit(wish) });
        }
    }

    fn plan_controls(&mut self, rng: &mut Rng) {
        let jobs = self.actions.len() as u64;
        for _ in 0..rng.between(0, jobs / 2) {
            let number = rng.between(0, jobs) as u32;
            let at_ms = rng.between(1_000, self.ends_ms);
            let deed = match rng.between(0, 10) {
                0..=3 => Deed::Cancel(number),
                4 => {
                    let later = at_ms + rng.between(500, 8_000);
                    self.actions.push(Action { at_ms: later, deed: Deed::Resume(number) });
                    Deed::Pause(number)
                }
                5 => Deed::Resume(number),
                6 | 7 => Deed::Redrive(number),
                _ => Deed::Move(number, rng.between(0, 10_000)),
            };
            self.actions.push(Action { at_ms, deed });
        }
    }

    fn plan_limits(&mut self, rng: &mut Rng) {
        let some = |rng: &mut Rng, percent, high| rng.percent(percent).then(|| rng.between(1, high) as u32);
        for queue in 0..QUEUES {
            let wish = QueueWish {
                max_running: some(rng, 40, 5),
                per_tenant: some(rng, 25, 3),
                rate: some(rng, 25, 6),
                held_ms: None,
            };
            self.actions.push(Action { at_ms: 0, deed: Deed::SetQueue(queue, wish) });
            if rng.percent(25) {
                let at_ms = rng.between(1_000, self.ends_ms / 2);
                let held = QueueWish { held_ms: Some(rng.between(500, 10_000)), ..wish };
                let changed = QueueWish { max_running: some(rng, 60, 4), held_ms: None, ..wish };
                let later = at_ms + rng.between(500, 10_000);
                self.actions.push(Action { at_ms, deed: Deed::SetQueue(queue, held) });
                self.actions.push(Action { at_ms: later, deed: Deed::SetQueue(queue, changed) });
            }
        }
        for tenant in 0..TENANTS {
            let wish = TenantWish { max_running: some(rng, 30, 4), paused: false };
            self.actions.push(Action { at_ms: 0, deed: Deed::SetTenant(tenant, wish) });
            if rng.percent(10) {
                let at_ms = rng.between(1_000, self.ends_ms / 2);
                let later = at_ms + rng.between(500, 10_000);
                let held = TenantWish { paused: true, ..wish };
                self.actions.push(Action { at_ms, deed: Deed::SetTenant(tenant, held) });
                self.actions.push(Action { at_ms: later, deed: Deed::SetTenant(tenant, wish) });
            }
        }
    }

    fn plan_troubles(&mut self, rng: &mut Rng) {
        for _ in 0..rng.between(0, 7) {
            let from_ms = rng.between(500, self.ends_ms - 10_000);
            let short = from_ms + rng.between(100, 4_000);
            let long = from_ms + rng.between(1_000, 25_000);
            let anybody = rng.between(0, (self.nodes + self.remotes) as u64) as usize;
            let node = rng.between(0, self.nodes as u64) as usize;
            let remote = self.nodes + rng.between(0, self.remotes as u64) as usize;
            let (kind, process, to_ms) = match rng.between(0, 12) {
                0 | 1 => (TroubleKind::Crash, anybody, short),
                2 => (TroubleKind::Deploy, node, from_ms + 3_000),
                3 => (TroubleKind::Freeze, remote, long),
                4 | 5 => (TroubleKind::Cut, anybody, long),
                6 => (TroubleKind::Slow(rng.between(50, 15_000)), anybody, long),
                7 | 8 => (TroubleKind::Unsure(rng.between(5, 60)), anybody, long),
                9 => (TroubleKind::Repeat(rng.between(20, 80)), anybody, long),
                10 => (TroubleKind::Outage, 0, long),
                _ if rng.percent(70) => {
                    (TroubleKind::Step(rng.between(1_000, 40_000) as i64), 0, from_ms + 1)
                }
                _ => (TroubleKind::Step(-(rng.between(1, 60) as i64)), 0, from_ms + 1),
            };
            let to_ms = to_ms.min(self.ends_ms);
            self.troubles.push(Trouble { from_ms, to_ms, process, kind });
        }
        self.troubles.sort_by_key(|trouble| trouble.from_ms);
    }
}

fn conduct(rng: &mut Rng) -> Vec<Conduct> {
    let mut attempts = Vec::new();
    for _ in 0..rng.between(0, 4) {
        attempts.push(match rng.between(0, 10) {
            0..=4 => Conduct::Fail(rng.between(0, 2_000)),
            5 => Conduct::FailForGood,
            6 | 7 => Conduct::Snooze(rng.between(0, 4_000)),
            8 => Conduct::Hang,
            _ => Conduct::Succeed(rng.between(0, 3_000)),
        });
    }
    // Some take longer than a lease.
    let longest = if rng.percent(20) { 25_000 } else { 2_500 };
    attempts.push(Conduct::Succeed(rng.between(0, longest)));
    attempts
}

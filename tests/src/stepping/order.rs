//! Which orders of their statements operations are run in.
//!
//! Two steps that touch nothing in common leave the same behind in either order, so of
//! all orders that differ by such steps alone one is run. After each run its races are
//! looked for: steps of two sessions that meet, and that nothing between them orders.
//! Each is turned round in a run to come (dynamic partial-order reduction with source
//! sets, after Abdulla and others; a session that has been tried at a point sleeps there
//! until something that it meets has happened).

use std::collections::BTreeSet;

use super::touch::Touch;
use crate::sim::rng::Rng;

/// So often a plan is repeated before all is begun anew.
const MOST_REPEATS: usize = 5;

/// How a run begins: whose turn it is at each step, and who need not be tried behind.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    sessions: Vec<usize>,
    asleep: Vec<(usize, Touch)>,
    chance: Option<Rng>,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// Whose it was.
    session: usize,
    /// Who could have made one instead, and what it would have touched.
    ready: Vec<(usize, Touch)>,
}

/// What a run was.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    steps: Vec<Step>,
    /// How many steps there were before nothing new could come, if that was so.
    repeats: Option<usize>,
}

/// A point of the run that is looked at.
#[derive(Debug)]
struct Node {
    step: Step,
    /// Whose turn it has been here in some run, and who need not have one.
    done: BTreeSet<usize>,
    /// Whose turn it is to be here.
    todo: BTreeSet<usize>,
    asleep: Vec<(usize, Touch)>,
}

/// All orders that may differ, one after the other.
#[derive(Debug, Default)]
pub struct Orders {
    nodes: Vec<Node>,
    plan: Plan,
    begun: bool,
    /// How often the plan was run in vain, and how often all was begun anew.
    in_vain: usize,
    restarts: usize,
}

impl Step {
    fn touch(&self) -> Touch {
        touch_of(&self.ready, self.session).unwrap_or_default()
    }
}

fn touch_of(of: &[(usize, Touch)], session: usize) -> Option<Touch> {
    of.iter().find(|(other, _)| *other == session).map(|(_, touch)| *touch)
}

impl Plan {
    /// Whoever chance chooses, at each step.
    pub fn by_chance(seed: u64) -> Self {
        Self { chance: Some(Rng::new(seed, 0)), ..Self::default() }
    }

    /// A session to be taken at step `at`, when these are ready: the planned one, else
    /// the last one, else any; nobody who sleeps. None if all of them do, or if the run
    /// is not what it was before.
    fn choose(&mut self, at: usize, last: Option<usize>, ready: &[(usize, Touch)]) -> Option<usize> {
        if let Some(chance) = &mut self.chance {
            let drawn = chance.between(0, ready.len() as u64) as usize;
            return ready.get(drawn).map(|(session, _)| *session);
        }
        let is_ready = |session: &usize| touch_of(ready, *session).is_some();
        if let Some(planned) = self.sessions.get(at) {
            return Some(*planned).filter(is_ready);
        }
        let awake = |session: &usize| touch_of(&self.asleep, *session).is_none();
        last.filter(|last| is_ready(last) && awake(last))
            .or_else(|| ready.iter().map(|(session, _)| *session).find(awake))
    }

    /// Wakes whoever meets the step.
    fn wake(&mut self, at: usize, touch: &Touch) {
        if at >= self.sessions.len() {
            self.asleep.retain(|(_, asleep)| !asleep.meets(touch));
        }
    }
}

impl Outcome {
    /// Takes the next step of these that are ready, if one is; who makes it, and what it
    /// touches.
    pub(super) fn step(&mut self, plan: &mut Plan, ready: Vec<(usize, Touch)>) -> Option<(usize, Touch)> {
        let (first, _) = *ready.first()?;
        let at = self.steps.len();
        let last = self.steps.last().map(|step| step.session);
        let session = plan.choose(at, last, &ready).unwrap_or_else(|| {
            // Nothing new can come; the operations must end all the same.
            self.repeats.get_or_insert(at);
            first
        });
        let step = Step { session, ready };
        let touch = step.touch();
        plan.wake(at, &touch);
        self.steps.push(step);
        Some((session, touch))
    }

    /// Whose turn it was at each step.
    pub fn sessions(&self) -> Vec<usize> {
        self.steps.iter().map(|step| step.session).collect()
    }

    /// Whether the run was like none before.
    pub const fn is_new(&self) -> bool {
        self.repeats.is_none()
    }
}

impl Orders {
    /// How often it was begun anew.
    pub const fn restarts(&self) -> usize {
        self.restarts
    }

    /// How the next run begins; none if there is no next run.
    pub fn next_run(&mut self) -> Option<Plan> {
        if !self.begun {
            self.begun = true;
            return Some(Plan::default());
        }
        if self.in_vain > 0 {
            return Some(self.plan.clone());
        }
        while let Some(node) = self.nodes.last_mut() {
            let asleep = |session: &&usize| touch_of(&node.asleep, **session).is_none();
            let next = node.todo.difference(&node.done).find(asleep).copied();
            let Some(next) = next else {
                self.nodes.pop();
                continue;
            };
            let tried = node.done.iter().filter_map(|done| Some((*done, touch_of(&node.step.ready, *done)?)));
            let mut asleep: Vec<_> = node.asleep.iter().copied().chain(tried).collect();
            node.step.session = next;
            node.done.insert(next);
            asleep.retain(|(_, touch)| !touch.meets(&node.step.touch()));
            let sessions = self.nodes.iter().map(|node| node.step.session).collect();
            self.plan = Plan { sessions, asleep, chance: None };
            return Some(self.plan.clone());
        }
        None
    }

    /// Notes what the last run was. One that began otherwise than it was planned is
    /// repeated: a session was late. If that does not help, the sessions have learned
    /// something since, and all is begun anew. Answers whether it was as planned.
    pub fn ran(&mut self, outcome: &Outcome) -> bool {
        let steps = self.nodes.iter().map(|node| &node.step);
        if !steps.eq(outcome.steps.iter().take(self.nodes.len())) {
            self.in_vain += 1;
            if self.in_vain > MOST_REPEATS {
                *self = Self { restarts: self.restarts + 1, ..Self::default() };
            }
            return false;
        }
        self.in_vain = 0;
        let new = outcome.repeats.unwrap_or(outcome.steps.len());
        let mut plan = self.plan.clone();
        for (at, step) in outcome.steps[..new].iter().enumerate().skip(self.nodes.len()) {
            let asleep = plan.asleep.clone();
            plan.wake(at, &step.touch());
            let turn = BTreeSet::from([step.session]);
            self.nodes.push(Node { step: step.clone(), done: turn.clone(), todo: turn, asleep });
        }
        self.find_races();
        true
    }

    /// Lets the second step of each race come before the first.
    fn find_races(&mut self) {
        let steps: Vec<_> = self.nodes.iter().map(|node| (node.step.session, node.step.touch())).collect();
        let meets = |a: usize, b: usize| steps[a].0 == steps[b].0 || steps[a].1.meets(&steps[b].1);
        // What each step follows, be it by way of others.
        let mut follows: Vec<BTreeSet<usize>> = Vec::new();
        for at in 0..steps.len() {
            let direct: Vec<_> = (0..at).filter(|before| meets(*before, at)).collect();
            let through = direct.iter().flat_map(|before| follows[*before].iter().copied());
            let all = through.chain(direct.iter().copied()).collect();
            follows.push(all);
        }
        for at in 0..steps.len() {
            for before in follows[at].iter().copied().filter(|before| steps[*before].0 != steps[at].0) {
                let between = |step: &usize| follows[*step].contains(&before);
                if follows[at].iter().any(between) {
                    continue;
                }
                // What can happen without the first step, and whose turn it can be then.
                let apart = |step: &usize| !follows[*step].contains(&before);
                let without: Vec<_> = (before + 1..at).filter(apart).chain([at]).collect();
                let first = |step: &&usize| without.iter().all(|other| !follows[**step].contains(other));
                let turns: BTreeSet<_> = without.iter().filter(first).map(|step| steps[*step].0).collect();
                self.nodes[before].turn_round(&turns);
            }
        }
    }
}

impl Node {
    /// Lets one of these sessions come first.
    fn turn_round(&mut self, turns: &BTreeSet<usize>) {
        if !turns.is_disjoint(&self.todo) {
            return;
        }
        let is_ready = |session: &&usize| touch_of(&self.step.ready, **session).is_some();
        match turns.iter().find(is_ready) {
            Some(turn) => drop(self.todo.insert(*turn)),
            None => self.todo.extend(self.step.ready.iter().map(|(session, _)| *session)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::touch::{Tables, Transaction};
    use super::*;

    type Program = Vec<Vec<Touch>>;

    /// Sessions whose statements look at some tables and write to one now and then.
    fn program(rng: &mut Rng, tables: &Tables) -> Program {
        let sessions = 2 + rng.between(0, 2);
        let step = |rng: &mut Rng| {
            let table = ["a", "b", "c"][rng.between(0, 3) as usize];
            let text = ["update t set x = 1", "select x from t", "select 1"][rng.between(0, 3) as usize];
            Transaction::default()
                .step(
                    tables,
                    &text.replace(" t ", &format!(" {table} ")).replace("from t", &format!("from {table}")),
                )
                .0
        };
        (0..sessions).map(|_| (0..rng.between(1, 4)).map(|_| step(rng)).collect()).collect()
    }

    fn ready(program: &Program, done: &[usize]) -> Vec<(usize, Touch)> {
        let next = |session: usize| program[session].get(done[session]).map(|touch| (session, *touch));
        (0..program.len()).filter_map(next).collect()
    }

    /// What an order leaves behind: which came first of any two steps that meet.
    fn result(program: &Program, sessions: &[usize]) -> BTreeSet<[(usize, usize); 2]> {
        let mut done = vec![0; program.len()];
        let mut steps: Vec<(usize, usize)> = Vec::new();
        for session in sessions {
            steps.push((*session, done[*session]));
            done[*session] += 1;
        }
        let meets = |one: (usize, usize), other: (usize, usize)| {
            one.0 != other.0 && program[one.0][one.1].meets(&program[other.0][other.1])
        };
        let pairs = (0..steps.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
        pairs.map(|(first, second)| [steps[first], steps[second]]).filter(|[a, b]| meets(*a, *b)).collect()
    }

    fn everything(
        program: &Program,
        done: &mut Vec<usize>,
        sessions: &mut Vec<usize>,
        all: &mut BTreeSet<BTreeSet<[(usize, usize); 2]>>,
    ) {
        let ready = ready(program, done);
        if ready.is_empty() {
            all.insert(result(program, sessions));
        }
        for (session, _) in ready {
            done[session] += 1;
            sessions.push(session);
            everything(program, done, sessions, all);
            sessions.pop();
            done[session] -= 1;
        }
    }

    fn run(program: &Program, mut plan: Plan) -> Outcome {
        let mut outcome = Outcome::default();
        let mut done = vec![0; program.len()];
        while let Some((session, _)) = outcome.step(&mut plan, ready(program, &done)) {
            done[session] += 1;
        }
        outcome
    }

    #[test]
    fn no_order_that_may_differ_is_left_out() {
        let tables = Tables::new(["a", "b", "c"].map(str::to_owned).to_vec()).unwrap();
        let (mut runs, mut differ) = (0, 0);
        for seed in 0..400 {
            let program = program(&mut Rng::new(seed, 1), &tables);
            let mut all = BTreeSet::new();
            everything(&program, &mut vec![0; program.len()], &mut Vec::new(), &mut all);
            let (mut orders, mut found) = (Orders::default(), BTreeSet::new());
            while let Some(plan) = orders.next_run() {
                let outcome = run(&program, plan);
                assert!(orders.ran(&outcome));
                found.insert(result(&program, &outcome.sessions()));
                runs += 1;
            }
            assert_eq!(found, all, "seed {seed}");
            assert_eq!(orders.restarts(), 0);
            differ += all.len();
        }
        assert!(runs < differ * 2, "{runs} runs for {differ} orders that differ");
    }
}

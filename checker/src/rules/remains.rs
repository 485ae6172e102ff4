//! C16: nothing is left behind: no lease without its job, no job without its
//! lease, no counter that counts something else than what there is.

use std::collections::BTreeMap;

use super::Found;
use crate::Lives;
use crate::table;

pub(super) fn are_none(lives: &Lives<'_>, found: &mut Found) {
    for (row, life) in lives.existing() {
        let open: Vec<_> = life.attempts.iter().filter(|attempt| attempt.ended_at.is_none()).collect();
        if row.state == table::RUNNING && open.is_empty() {
            found.add(format!("{} is RUNNING and no attempt of it runs", row.job));
        }
        for attempt in open.iter().filter(|_| row.state != table::RUNNING) {
            found.add(format!("{} is {} and its attempt {} runs", row.job, row.state, attempt.number));
        }
        if lives.history.run.settled && row.state == table::RUNNING {
            found.add(format!("{} is left RUNNING after everything came to rest", row.job));
        }
    }
    depths_are_true(lives, found);
    let left = lives.history.run.undispatched;
    if lives.history.run.settled && left > 0 {
        found.add(format!("{left} events are left that no rule has seen"));
    }
}

fn depths_are_true(lives: &Lives<'_>, found: &mut Found) {
    if lives.history.depths.is_empty() {
        return;
    }
    let mut real: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for row in &lives.history.jobs {
        *real.entry((&row.queue, &row.state)).or_default() += 1;
    }
    for told in &lives.history.depths {
        let count = real.remove(&(told.queue.as_str(), told.state.as_str())).unwrap_or(0);
        if count != told.jobs {
            found.add(format!(
                "queue {} says that it has {} {} jobs and has {count}",
                told.queue, told.jobs, told.state
            ));
        }
    }
    for ((queue, state), count) in real {
        found.add(format!("queue {queue} says nothing of its {count} {state} jobs"));
    }
}

//! Where jobs of given states stand, as fragments of statements.
//!
//! Everywhere `$1` is the tenant and `$5` what time it is; the place's row is `r`.

use taskflow_domain::JobState;

/// Scheduled jobs whose time has come. They show as PENDING until they are
/// promoted, a moment later, so they are few; the index on due times finds them
/// without a look at those that stay.
pub(super) const DUE: &str =
    "due as materialized (select tenant_id, job_id from parked where state = 1 and due_at <= $5)";

/// The rows of a table that are in one of the states that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The table, or [`DUE`].
    pub(super) table: &'static str,
    /// A condition on its row.
    pub(super) condition: &'static str,
}

impl Place {
    /// Whether it is read from [`DUE`].
    pub(super) fn is_due(self) -> bool {
        self.table == "due"
    }
}

/// Where jobs stand that show as one of `states`.
pub(super) fn places(states: &[JobState]) -> Vec<Place> {
    let has = |state| states.contains(&state);
    let place = |table, condition| Place { table, condition };
    let mut places = Vec::new();
    if has(JobState::Pending) {
        places.push(place("ready", "true"));
    }
    match (has(JobState::Pending), has(JobState::Scheduled)) {
        (true, true) => places.push(place("parked", "r.state = 1")),
        (true, false) => places.push(place("due", "true")),
        (false, true) => places.push(place("parked", "r.state = 1 and r.due_at > $5")),
        (false, false) => {}
    }
    let others = [
        (JobState::Waiting, place("parked", "r.state = 0")),
        (JobState::Paused, place("parked", "r.state = 4")),
        (JobState::Running, place("running", "true")),
        (JobState::Succeeded, place("finished", "r.state = 5")),
        (JobState::Failed, place("finished", "r.state = 6")),
        (JobState::Dead, place("finished", "r.state = 7")),
        (JobState::Cancelled, place("finished", "r.state = 8")),
    ];
    places.extend(others.into_iter().filter(|(state, _)| has(*state)).map(|(_, place)| place));
    places
}

/// The condition that the job of this id shows as one of `states`.
pub(super) fn stands(states: &[JobState], id: &str) -> String {
    let places = places(states);
    let mut looks = Vec::new();
    for table in ["ready", "parked", "running", "finished"] {
        let conditions: Vec<_> = places
            .iter()
            .filter_map(|place| match (place.table, table) {
                ("due", "parked") => Some("r.state = 1 and r.due_at <= $5"),
                (known, _) if known == table => Some(place.condition),
                _ => None,
            })
            .map(|condition| format!("({condition})"))
            .collect();
        if !conditions.is_empty() {
            looks.push(format!(
                "exists (select from {table} r where r.tenant_id = $1 and r.job_id = {id} and ({}) offset 0)",
                conditions.join(" or ")
            ));
        }
    }
    format!("({})", looks.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_a_place() {
        for state in JobState::ALL {
            assert!(!places(&[state]).is_empty(), "{state}");
        }
        assert_eq!(places(&JobState::ALL).len(), 9);
    }

    #[test]
    fn due_jobs_are_pending() {
        assert!(places(&[JobState::Pending]).iter().any(|place| place.is_due()));
        assert!(!places(&[JobState::Pending, JobState::Scheduled]).iter().any(|place| place.is_due()));
        let text = stands(&[JobState::Pending, JobState::Waiting], "j.id");
        assert!(text.contains("(r.state = 1 and r.due_at <= $5) or (r.state = 0)"), "{text}");
    }
}

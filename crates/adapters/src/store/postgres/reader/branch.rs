//! The walk through one index: the part of a search that its source decides.
//!
//! A walk goes through one index in falling order of the ids and looks up, for
//! each entry, whether the rest of the filter holds; it stops when the page is
//! full. The look-ups are subqueries with `offset 0`, which the planner does not
//! turn into joins: a join might read one side whole before its first row.

use super::place::{self, Place};
use super::search::{MANY, Search};

/// Which index is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// All jobs of the tenant.
    Jobs,
    /// The places of the states that are asked for.
    Places,
    /// The jobs with the label of this number, counted from 1.
    Label(usize),
    /// The jobs of one cause.
    Correlation,
    /// The jobs of one rule.
    Rule,
}

/// What is wanted of the ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// The newest of them, as many as the page holds.
    Page,
    /// All.
    All,
    /// A few of the source's, in any order, whether they meet the filter or not.
    Probe,
}

/// A walk: its table with an alias, the column of the id, and the conditions of
/// the index, besides the tenant and the range of ids.
struct Walk {
    table: &'static str,
    alias: &'static str,
    id: &'static str,
    conditions: Vec<String>,
}

impl Walk {
    fn jobs(condition: &str) -> Self {
        Self { table: "job", alias: "j", id: "j.id", conditions: vec![condition.into()] }
    }

    fn place(place: &Place) -> Self {
        let conditions = vec![place.condition.into()];
        Self { table: place.table, alias: "r", id: "r.job_id", conditions }
    }

    fn label(number: usize) -> Self {
        let conditions = vec![label("l", number)];
        Self { table: "job_label", alias: "l", id: "l.job_id", conditions }
    }

    fn text(self, rest: Vec<String>, want: Want) -> String {
        let Self { table, alias, id, mut conditions } = self;
        conditions.extend(rest);
        let end = match want {
            Want::Page => format!(" order by {id} desc limit $4"),
            Want::All => String::new(),
            Want::Probe => format!(" limit {MANY}"),
        };
        format!(
            "(select {id} job_id from {table} {alias} where {alias}.tenant_id = $1 and {id} >= $2 \
             and {id} < $3 and {}{end})",
            conditions.join(" and ")
        )
    }
}

/// The condition that a row of `job_label` is the label of this number.
fn label(alias: &str, number: usize) -> String {
    format!("{alias}.key = ($11::text[])[{number}] and {alias}.value = ($12::text[])[{number}]")
}

impl Search {
    /// The ids that `source` finds, as a subquery's text with the one column `job_id`.
    pub(super) fn walks(&self, source: Source, want: Want) -> String {
        let walks = match source {
            Source::Jobs => vec![Walk::jobs("true")],
            Source::Rule => vec![Walk::jobs("j.rule_id = $10")],
            // A job that is a cause of its own has none on record.
            Source::Correlation => vec![
                Walk::jobs("j.correlation_id = $9"),
                Walk::jobs("j.id = $9 and j.correlation_id is null"),
            ],
            Source::Label(number) => vec![Walk::label(number)],
            Source::Places => place::places(&self.states).iter().map(Walk::place).collect(),
        };
        let texts: Vec<_> = walks
            .into_iter()
            .map(|walk| {
                let rest = if want == Want::Probe { Vec::new() } else { self.rest(source, walk.id) };
                walk.text(rest, want)
            })
            .collect();
        texts.join(" union all ")
    }

    /// What of the filter `source` does not answer itself, for the job of this id.
    fn rest(&self, source: Source, id: &str) -> Vec<String> {
        let mut rest = Vec::new();
        let of_job = self.of_job(source);
        if matches!(source, Source::Jobs | Source::Rule | Source::Correlation) {
            rest.extend(of_job.iter().map(ToString::to_string));
        } else if !of_job.is_empty() {
            rest.push(format!(
                "exists (select from job j where j.tenant_id = $1 and j.id = {id} and {} offset 0)",
                of_job.join(" and ")
            ));
        }
        for number in (1..=self.keys.len()).filter(|number| source != Source::Label(*number)) {
            rest.push(format!(
                "exists (select from job_label x where x.tenant_id = $1 and {} and x.job_id = {id} offset 0)",
                label("x", number)
            ));
        }
        if source != Source::Places && !self.states.is_empty() {
            rest.push(place::stands(&self.states, id));
        }
        rest
    }

    /// Conditions on the job's row `j`.
    fn of_job(&self, source: Source) -> Vec<&'static str> {
        let mut conditions = Vec::new();
        let mut given = |is_given: bool, condition| {
            if is_given {
                conditions.push(condition);
            }
        };
        given(self.queue.is_some(), "j.queue_id = $6");
        given(self.kind.is_some(), "j.kind_id = $7");
        given(self.priority.is_some(), "j.priority = $8");
        given(
            self.correlation.is_some() && source != Source::Correlation,
            "coalesce(j.correlation_id, j.id) = $9",
        );
        given(self.rule.is_some() && source != Source::Rule, "j.rule_id = $10");
        given(self.after.is_some(), "j.created_at > $13");
        given(self.before.is_some(), "j.created_at < $14");
        conditions
    }

    /// The statements that `source` needs in front, as the beginning of a
    /// `with` clause that one more follows.
    pub(super) fn front(&self, source: Source) -> String {
        let due = source == Source::Places && place::places(&self.states).iter().any(|place| place.is_due());
        if due { format!("with {}, ", place::DUE) } else { "with ".into() }
    }
}

//! C7: a stale token changes nothing.

use std::collections::BTreeMap;

use super::Found;
use crate::Lives;
use crate::history::{AttemptRow, Call, Known, Op};

pub(super) fn holds(lives: &Lives<'_>, found: &mut Found) {
    let mut accepted: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for call in lives.history.calls.iter().filter(|call| call.known == Known::Ok) {
        match &call.op {
            Op::Settle { job, token, outcome, then } => {
                let Some(attempt) = named(lives, job, token, found) else { continue };
                *accepted.entry((job, token)).or_default() += 1;
                settled_as_told(attempt, outcome, then.as_deref(), found);
                written_in_time(call, attempt, lives.slack(), found);
            }
            Op::Extend { job, token } => {
                let Some(attempt) = named(lives, job, token, found) else { continue };
                if let Some(ended) = attempt.ended_at.filter(|ended| *ended < call.invoked_at - lives.slack())
                {
                    found.add(format!(
                        "attempt {} of {job} ended at {ended}, and its lease was extended at {}",
                        attempt.number, call.invoked_at
                    ));
                }
            }
            _ => {}
        }
    }
    for ((job, token), count) in accepted.into_iter().filter(|(_, count)| *count > 1) {
        found.add(format!("{count} reports under {token} of {job} were accepted"));
    }
}

/// The attempt of a token that was accepted.
fn named<'a>(lives: &Lives<'a>, job: &str, token: &str, found: &mut Found) -> Option<&'a AttemptRow> {
    let life = lives.jobs.get(job)?;
    life.row?;
    let attempt = life.attempts.iter().find(|attempt| attempt.token == token).copied();
    if attempt.is_none() {
        found.add(format!("a call under {token} was accepted, which is no token of {job}"));
    }
    attempt
}

fn settled_as_told(attempt: &AttemptRow, outcome: &str, then: Option<&str>, found: &mut Found) {
    let AttemptRow { job, number, .. } = attempt;
    match (attempt.ended_at, &attempt.outcome) {
        (Some(_), Some(written)) => {
            if written != outcome {
                found.add(format!(
                    "attempt {number} of {job} was accepted as {outcome} and stands as {written}"
                ));
            }
        }
        _ => found.add(format!("attempt {number} of {job} was accepted as {outcome} and has not ended")),
    }
    if let (Some(told), Some(written)) = (then, attempt.then.as_deref())
        && told != written
    {
        found
            .add(format!("after attempt {number} of {job} its worker was told {told}, and it was {written}"));
    }
}

/// What was accepted was written while it was asked for.
fn written_in_time(call: &Call, attempt: &AttemptRow, slack: i64, found: &mut Found) {
    let Some(ended) = attempt.ended_at else { return };
    if ended < call.invoked_at - slack || ended > call.returned_at + slack {
        found.add(format!(
            "attempt {} of {} ended at {ended}, outside of the report from {} to {}",
            attempt.number, attempt.job, call.invoked_at, call.returned_at
        ));
    }
}

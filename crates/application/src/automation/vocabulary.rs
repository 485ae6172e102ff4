//! What expressions of a rule may name, by what the rule waits for. Objects of
//! the engine are closed, so that a slip of the pen is found when the rule is
//! saved; what others write (attributes, payloads, the data of events) is free.

use taskflow_domain::rule::Trigger;

use crate::ports::{Known, Shape};

const fn text(name: &'static str) -> Known {
    Known::new(name, Shape::Text)
}

const fn any(name: &'static str) -> Known {
    Known::new(name, Shape::Any)
}

const fn object(name: &'static str, members: &'static [Known]) -> Known {
    Known::new(name, Shape::Object(members))
}

const TENANT: Known =
    object("tenant", &[text("slug"), any("attributes"), Known::new("weight", Shape::Number)]);
const NOW: Known = Known::new("now", Shape::Time);

/// Of the clock and of hands: a cron rule may be started by hand too.
const CLOCK: Known = object("trigger", &[text("type"), text("scheduled_at"), text("rule"), any("input")]);

/// Of deliveries and events from outside.
const DELIVERY: Known = object("trigger", &[text("type"), text("event"), any("delivery_id")]);
const EVENT: Known = object(
    "event",
    &[any("id"), text("type"), text("source"), any("subject"), text("time"), any("headers"), any("data")],
);

const JOB: &[Known] = &[
    text("id"),
    text("kind"),
    text("queue"),
    text("tenant"),
    text("state"),
    any("state_reason"),
    text("priority"),
    any("payload"),
    any("labels"),
    any("result"),
    any("last_error"),
    Known::new("attempts_made", Shape::Number),
    text("correlation_id"),
    any("parent_job_id"),
    any("rule_id"),
    text("created_at"),
];

/// Of the ends of jobs.
const END: Known = object("trigger", &[text("type"), text("event")]);
const ENDED: Known = object("job", JOB);
const JOB_EVENT: Known =
    object("event", &[text("type"), text("source"), text("time"), object("data", JOB), any("headers")]);

/// What expressions of a rule may name.
pub(super) fn variables(trigger: &Trigger) -> &'static [Known] {
    match trigger {
        Trigger::Cron(_) | Trigger::Manual => &[TENANT, CLOCK, NOW],
        Trigger::Event { event } if event.is_about_jobs() => &[TENANT, END, JOB_EVENT, ENDED, NOW],
        Trigger::Webhook(_) | Trigger::Event { .. } => &[TENANT, DELIVERY, EVENT, NOW],
    }
}

//! What a rule waits for: the documents of triggers.

use serde::{Deserialize, Serialize};

use crate::id::RuleId;
use crate::schedule::{Dialect, DstRule, Misfire, Overlap, Schedule, ScheduleFault};
use crate::state::JobState;
use crate::time::Timestamp;

/// The kinds of triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum TriggerKind {
    /// The clock.
    Cron = 0,
    /// A call from outside.
    Webhook = 1,
    /// An event: a job's end, or a `CloudEvent`.
    Event = 2,
    /// Somebody's hand.
    Manual = 3,
}

impl TriggerKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Cron, Self::Webhook, Self::Event, Self::Manual];

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cron => "cron",
            Self::Webhook => "webhook",
            Self::Event => "event",
            Self::Manual => "manual",
        }
    }

    /// The number under which the databases keep it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The kind of that number.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|code| Self::ALL.get(code).copied())
    }
}

/// What a rule waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Trigger {
    /// The clock.
    Cron(CronTrigger),
    /// A call from outside.
    Webhook(WebhookTrigger),
    /// An event.
    Event {
        /// Which.
        event: EventPattern,
    },
    /// Somebody's hand.
    Manual,
}

impl Trigger {
    /// Its kind.
    pub const fn kind(&self) -> TriggerKind {
        match self {
            Self::Cron(_) => TriggerKind::Cron,
            Self::Webhook(_) => TriggerKind::Webhook,
            Self::Event { .. } => TriggerKind::Event,
            Self::Manual => TriggerKind::Manual,
        }
    }
}

/// The clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CronTrigger {
    /// When.
    pub expression: String,
    /// In which IANA zone.
    #[serde(default = "utc")]
    pub timezone: String,
    /// How the expression is read.
    #[serde(default)]
    pub dialect: Dialect,
    /// What happens while the previous instance runs.
    #[serde(default)]
    pub overlap: Overlap,
    /// What happens to missed occurrences.
    #[serde(default)]
    pub misfire: Misfire,
    /// What happens when the clocks change.
    #[serde(default)]
    pub dst: DstRule,
    /// Up to how many milliseconds later the rule fires, always the same for one
    /// rule, so that not everything starts at midnight.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub jitter_ms: u64,
}

impl CronTrigger {
    /// The occurrences of the rule `rule`. Every fault is told.
    pub fn schedule(&self, rule: RuleId) -> Result<Schedule, Vec<ScheduleFault>> {
        let schedule = Schedule::parse(&self.expression, &self.timezone, self.dialect, self.dst)?;
        Ok(schedule.spread(rule, self.jitter_ms))
    }

    /// Everything that is wrong with when it fires, from `now` on.
    pub fn schedule_faults(&self, now: Timestamp) -> Vec<ScheduleFault> {
        Schedule::faults(&self.expression, &self.timezone, self.dialect, self.dst, now)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn utc() -> String {
    "UTC".to_owned()
}

/// How deliveries are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Standard Webhooks.
    Standard,
    /// GitHub.
    Github,
    /// Stripe.
    Stripe,
    /// Slack.
    Slack,
    /// Any HMAC with SHA-256.
    HmacSha256,
    /// Not at all.
    #[default]
    None,
}

/// How deliveries are signed, without the secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureSpec {
    /// The scheme.
    #[serde(default)]
    pub scheme: Scheme,
    /// Of `hmac-sha256`: the header that holds the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Of `hmac-sha256`: what stands before the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Of `hmac-sha256`: `hex` or `base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Of `hmac-sha256`: what is signed, such as `{timestamp}.{body}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Of `hmac-sha256`: the header that holds the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// The header that holds the id of the delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
    /// How old a delivery may be, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance_s: Option<u64>,
}

/// A call from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookTrigger {
    /// What the address ends in.
    #[serde(default)]
    pub key: String,
    /// How deliveries are signed.
    #[serde(default)]
    pub signature: SignatureSpec,
}

/// The name of an event, in which `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventPattern(pub String);

impl EventPattern {
    /// The names of jobs' ends.
    pub const JOBS: [(&'static str, JobState); 4] = [
        ("job.succeeded", JobState::Succeeded),
        ("job.failed", JobState::Failed),
        ("job.dead", JobState::Dead),
        ("job.cancelled", JobState::Cancelled),
    ];

    /// The name of a job's end.
    pub fn of_state(state: JobState) -> Option<&'static str> {
        Self::JOBS.into_iter().find(|(_, of)| *of == state).map(|(name, _)| name)
    }

    /// The state whose reaching it names. A rule about jobs names one state or,
    /// as `job.*`, all of them.
    pub fn states(&self) -> Vec<JobState> {
        if !self.is_about_jobs() {
            return Vec::new();
        }
        Self::JOBS.into_iter().filter(|(name, _)| self.matches(name)).map(|(_, state)| state).collect()
    }

    /// Whether it is about the ends of jobs: these are not CloudEvents.
    pub fn is_about_jobs(&self) -> bool {
        self.0.starts_with("job.")
    }

    /// Whether an event of that name is meant.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut last = None;
        for part in parts {
            if let Some(between) = last.replace(part) {
                match rest.find(between) {
                    Some(at) => rest = &rest[at + between.len()..],
                    None => return false,
                }
            }
        }
        last.map_or(rest.is_empty(), |end: &str| rest.ends_with(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match() {
        let matches = |pattern: &str, name: &str| EventPattern(pattern.into()).matches(name);
        assert!(matches("com.acme.order", "com.acme.order"));
        assert!(!matches("com.acme.order", "com.acme.orders"));
        assert!(matches("com.acme.*", "com.acme.order.paid"));
        assert!(matches("*.paid", "com.acme.order.paid"));
        assert!(matches("com.*.order.*", "com.acme.order.paid"));
        assert!(!matches("com.*.order.*", "com.acme.invoice.paid"));
        assert!(matches("*", ""));
        assert!(!matches("aXa*a", "aXa"), "no character counts twice");
        assert_eq!(EventPattern("job.*".into()).states().len(), 4);
        assert_eq!(EventPattern("job.dead".into()).states(), [JobState::Dead]);
        assert!(EventPattern("*".into()).states().is_empty());
    }

    #[test]
    fn a_trigger_is_read_from_its_document() {
        let text = r#"{"type":"cron","expression":"0 7 * * *","timezone":"Europe/Madrid","overlap":"skip",
            "misfire":{"policy":"run_once","max_lateness_ms":3600000},"dst":{"gap":"run_after","overlap":"first"}}"#;
        let Trigger::Cron(cron) = serde_json::from_str(text).unwrap() else { panic!("not a cron trigger") };
        assert_eq!((cron.overlap, cron.misfire.max_lateness_ms), (Overlap::Skip, Some(3_600_000)));
        let text = serde_json::to_string(&Trigger::Manual).unwrap();
        assert_eq!(text, r#"{"type":"manual"}"#);
        assert!(
            serde_json::from_str::<Trigger>(r#"{"type":"cron","expression":"* * * * *","zone":"x"}"#)
                .is_err()
        );
    }
}

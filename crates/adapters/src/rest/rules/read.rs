//! Reading rules. What the fields say together is the application's to judge;
//! here it is found out whether they are fields of a rule at all.

use taskflow_application::automation::{Rehearsal, RuleWish};
use taskflow_domain::rule::{
    CronTrigger, EventPattern, Mode, Scheme, SignatureSpec, Trigger, WebhookTrigger,
};
use taskflow_domain::schedule::{Dialect, DstRule, Fold, Gap, Misfire, MisfirePolicy, Overlap};
use taskflow_domain::{Rule, RuleDocument, TenantSlug};

use super::super::fault::{Faults, Path};
use super::super::jobs::MAX_DOCUMENT;
use super::super::json::{Object, Value, decode};
use super::action::{action, stand_in};
use crate::webhook::signature_faults;

/// More actions than this are not read; how many a rule may have is the domain's.
const MOST_ACTIONS: usize = 1_000;
/// No text of a trigger is longer, in characters.
const MAX_TEXT: usize = 1_000;
/// No expression is longer, in characters; how long one may be is the engine's.
const MAX_SOURCE: usize = 16 * 1024;

const MODES: &[(&str, Mode)] = &[("live", Mode::Live), ("shadow", Mode::Shadow)];

/// What a webhook rule keeps where a request is silent about it.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptHook {
    signature: Option<SignatureSpec>,
    secret: bool,
}

impl KeptHook {
    /// That of a rule. `secret` says whether it has one.
    pub(super) fn of(trigger: &Trigger, secret: bool) -> Self {
        match trigger {
            Trigger::Webhook(webhook) => Self { signature: Some(webhook.signature.clone()), secret },
            _ => Self::default(),
        }
    }

    /// A secret belongs to its scheme: another one needs another secret.
    fn has_secret(&self, scheme: Scheme) -> bool {
        self.secret && self.signature.as_ref().is_none_or(|kept| kept.scheme == scheme)
    }
}

/// Reads a rule. In the place of parts that cannot be read stands something
/// harmless, so that the rest can be judged in the same answer: what is answered
/// beside faults is good for nothing else.
pub(super) fn rule(value: Value<'_>, faults: &mut Faults) -> Option<RuleWish> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let wish = fields(&mut object, None, &KeptHook::default());
    object.close();
    Some(wish)
}

/// What the engine says of a rule. Whoever sends back what was shown says
/// nothing by it.
const ENGINES_OWN: &[&str] = &[
    "next_at",
    "queued_at",
    "error_streak",
    "failing_since",
    "recovered_at",
    "last_at",
    "last_outcome",
    "jobs_made",
    "created_at",
    "updated_at",
];

/// Reads a rule that is to take the place of `old`, perhaps as it was shown.
pub(super) fn change(
    value: Value<'_>,
    faults: &mut Faults,
    (old, tenant): (&Rule, &TenantSlug),
    kept: &KeptHook,
) -> Option<RuleWish> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let mut wish = fields(&mut object, None, kept);
    wish.revision = object
        .optional("revision", decode::whole_of(1..=u64::from(u32::MAX)))
        .and_then(|n| n.try_into().ok());
    for (key, is) in [("id", old.id.to_string()), ("tenant", tenant.to_string())] {
        let said = object.optional(key, decode::text_of(MAX_TEXT));
        if said.is_some_and(|said| !said.eq_ignore_ascii_case(&is)) {
            object.fault(key, format!("cannot be changed: it is {is}"));
        }
    }
    for key in ENGINES_OWN {
        object.raw(key);
    }
    object.close();
    Some(wish)
}

/// Reads a rehearsal: since when, with what, and the fields to be tried instead of `old`'s.
pub(super) fn rehearsal(value: Value<'_>, faults: &mut Faults, old: &RuleWish) -> Option<Rehearsal> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let since = object.optional("since", decode::time);
    let input = object.optional("input", decode::document(MAX_DOCUMENT));
    let wish = fields(&mut object, Some(old), &KeptHook::of(&old.document.trigger, true));
    object.close();
    Some(Rehearsal { since, input, instead: (wish != *old).then_some(wish) })
}

fn fields(object: &mut Object<'_, '_, '_>, old: Option<&RuleWish>, kept: &KeptHook) -> RuleWish {
    let before = old.map(|old| &old.document);
    let read_trigger =
        |value: Value<'_>, path: &Path<'_>, faults: &mut Faults| trigger(value, path, faults, kept);
    let read_actions =
        decode::list(0..=MOST_ACTIONS, |value, path, faults| Some(action(value, path, faults)));
    let (name, trigger, actions) = match before {
        None => (
            object.required("name", decode::text_of(MAX_TEXT)),
            object.required("trigger", read_trigger),
            object.required("actions", read_actions),
        ),
        Some(before) => (
            object.optional("name", decode::text_of(MAX_TEXT)).or_else(|| Some(before.name.clone())),
            object.optional("trigger", read_trigger).or_else(|| Some((before.trigger.clone(), None))),
            object.optional("actions", read_actions).or_else(|| Some(before.actions.clone())),
        ),
    };
    let enabled = object.optional("enabled", decode::boolean);
    let mode = object.optional("mode", decode::choice(MODES));
    let for_each_tenant = object.optional("for_each_tenant", decode::text_of(MAX_SOURCE));
    let condition = object.optional("condition", decode::text_of(MAX_SOURCE));
    let (trigger, secret) = trigger.unwrap_or_else(any_trigger);
    let document = RuleDocument {
        name: name.unwrap_or_else(|| "unread".to_owned()),
        trigger,
        for_each_tenant: for_each_tenant.or_else(|| before.and_then(|before| before.for_each_tenant.clone())),
        condition: condition
            .or_else(|| before.map(|before| before.condition.clone()))
            .unwrap_or_else(|| "true".to_owned()),
        actions: actions.unwrap_or_else(|| vec![stand_in()]),
    };
    RuleWish {
        document,
        enabled: enabled.unwrap_or_else(|| old.is_none_or(|old| old.enabled)),
        mode: mode.unwrap_or_else(|| old.map(|old| old.mode).unwrap_or_default()),
        secret,
        revision: None,
    }
}

/// A trigger whose rules may name every variable.
fn any_trigger() -> Read {
    (Trigger::Event { event: EventPattern("job.succeeded".to_owned()) }, None)
}

#[derive(Clone, Copy)]
enum Kind {
    Cron,
    Webhook,
    Event,
    Manual,
}

const KINDS: &[(&str, Kind)] =
    &[("cron", Kind::Cron), ("webhook", Kind::Webhook), ("event", Kind::Event), ("manual", Kind::Manual)];

type Read = (Trigger, Option<String>);

fn trigger(value: Value<'_>, path: &Path<'_>, faults: &mut Faults, kept: &KeptHook) -> Option<Read> {
    let mut object = Object::open(value, path, faults)?;
    let kind = object.required("type", decode::choice(KINDS))?;
    let read = match kind {
        Kind::Cron => Some((Trigger::Cron(cron(&mut object)), None)),
        Kind::Webhook => {
            let key = object.optional("key", decode::text_of(MAX_TEXT)).unwrap_or_default();
            let read =
                |value: Value<'_>, path: &Path<'_>, faults: &mut Faults| signature(value, path, faults, kept);
            let silent = || (kept.signature.clone().unwrap_or_default(), None);
            let (signature, secret) = object.optional("signature", read).unwrap_or_else(silent);
            Some((Trigger::Webhook(WebhookTrigger { key, signature }), secret))
        }
        Kind::Event => {
            let event = object.required("event", decode::text_of(MAX_TEXT));
            Some(
                event.map_or_else(any_trigger, |event| (Trigger::Event { event: EventPattern(event) }, None)),
            )
        }
        Kind::Manual => Some((Trigger::Manual, None)),
    };
    object.close();
    read
}

fn cron(object: &mut Object<'_, '_, '_>) -> CronTrigger {
    let dialects = &[("standard", Dialect::Standard), ("quartz", Dialect::Quartz)];
    let overlaps = &[
        ("allow", Overlap::Allow),
        ("skip", Overlap::Skip),
        ("queue_one", Overlap::QueueOne),
        ("replace", Overlap::Replace),
    ];
    let expression = object.required("expression", decode::text_of(MAX_TEXT));
    let timezone = object.optional("timezone", decode::text_of(MAX_TEXT));
    let dialect = object.optional("dialect", decode::choice(dialects)).unwrap_or_default();
    let overlap = object.optional("overlap", decode::choice(overlaps)).unwrap_or_default();
    let misfire = object.optional("misfire", misfire).unwrap_or_default();
    let dst = object.optional("dst", dst).unwrap_or_default();
    let jitter_ms = object.optional("jitter_ms", decode::whole_of(0..=3_600_000)).unwrap_or_default();
    let timezone = timezone.unwrap_or_else(|| "UTC".to_owned());
    let (expression, dialect) = expression
        .map_or_else(|| ("@hourly".to_owned(), Dialect::Standard), |expression| (expression, dialect));
    CronTrigger { expression, timezone, dialect, overlap, misfire, dst, jitter_ms }
}

fn misfire(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<Misfire> {
    let policies = &[
        ("skip", MisfirePolicy::Skip),
        ("run_once", MisfirePolicy::RunOnce),
        ("run_all", MisfirePolicy::RunAll),
    ];
    let mut object = Object::open(value, path, faults)?;
    let misfire = Misfire {
        policy: object.optional("policy", decode::choice(policies)).unwrap_or_default(),
        max: object
            .optional("max", decode::whole_of(1..=1_000))
            .map(|max| u32::try_from(max).unwrap_or(u32::MAX)),
        max_lateness_ms: object.optional("max_lateness_ms", decode::whole_of(1_000..=2_678_400_000)),
    };
    object.close();
    Some(misfire)
}

fn dst(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<DstRule> {
    let gaps = &[("run_after", Gap::RunAfter), ("skip", Gap::Skip)];
    let folds = &[("first", Fold::First), ("second", Fold::Second), ("both", Fold::Both)];
    let mut object = Object::open(value, path, faults)?;
    let rule = DstRule {
        gap: object.optional("gap", decode::choice(gaps)).unwrap_or_default(),
        overlap: object.optional("overlap", decode::choice(folds)).unwrap_or_default(),
    };
    object.close();
    Some(rule)
}

fn signature(
    value: Value<'_>,
    path: &Path<'_>,
    faults: &mut Faults,
    kept: &KeptHook,
) -> Option<(SignatureSpec, Option<String>)> {
    let schemes = &[
        ("standard", Scheme::Standard),
        ("github", Scheme::Github),
        ("stripe", Scheme::Stripe),
        ("slack", Scheme::Slack),
        ("hmac-sha256", Scheme::HmacSha256),
        ("none", Scheme::None),
    ];
    let mut object = Object::open(value, path, faults)?;
    let mut text = |key: &'static str| object.optional(key, decode::text_of(MAX_TEXT));
    let secret = text("secret");
    let mut spec = SignatureSpec {
        header: text("header"),
        prefix: text("prefix"),
        encoding: text("encoding"),
        template: text("template"),
        timestamp_header: text("timestamp_header"),
        id_header: text("id_header"),
        ..SignatureSpec::default()
    };
    // Nobody loses a signature by saying nothing of it.
    let before = kept.signature.as_ref().map(|kept| kept.scheme).unwrap_or_default();
    spec.scheme = object.optional("scheme", decode::choice(schemes)).unwrap_or(before);
    spec.tolerance_s = object.optional("tolerance_s", decode::whole_of(1..=3_600));
    for (field, detail) in signature_faults(&spec, secret.as_deref(), kept.has_secret(spec.scheme)) {
        object.fault(field, detail);
    }
    object.close();
    Some((spec, secret))
}

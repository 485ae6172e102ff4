//! What a rule must be before it is kept: every fault of it, told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use taskflow_domain::rule::{Action, EventPattern, MAX_ACTIONS, Scheme, Trigger};
use taskflow_domain::target::is_credential;
use taskflow_domain::{Kind, Priority, Rule, RuleDocument, Target, Timestamp};

use super::field::Field;
use super::ready::template_of;
use super::vocabulary::variables;
use super::{Automation, RuleFault};
use crate::jobs::{JobWish, MAX_LABELS, label_key};
use crate::ports::{Known, Question, Scope, Wanted};
use crate::sealing::MASK;
use crate::template::{MAX_EXPRESSIONS, Template, push_key};

/// The most characters of a rule's name.
const MAX_NAME: usize = 200;

#[derive(Default)]
struct Faults(Vec<RuleFault>);

impl Faults {
    fn note(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(RuleFault { pointer: pointer.into(), detail: detail.into() });
    }
}

impl Automation {
    /// Everything that is wrong with a rule that is asked for, its secret aside.
    pub async fn faults(&self, wish: super::RuleWish) -> Vec<RuleFault> {
        let now = self.world.clock.now();
        let mut document = wish.document;
        if let Trigger::Webhook(webhook) = &mut document.trigger
            && webhook.key.is_empty()
        {
            "made-when-kept".clone_into(&mut webhook.key);
        }
        let rule = Rule {
            tenant: taskflow_domain::TenantId(0),
            id: taskflow_domain::RuleId(self.world.ids.job(now).0),
            enabled: wish.enabled,
            mode: wish.mode,
            revision: 1,
            document,
            next_at: None,
            queued_at: None,
            health: taskflow_domain::rule::Health::default(),
            jobs_made: 0,
            created_at: now,
            updated_at: now,
        };
        self.check(&rule, true, now).await
    }

    /// Everything that is wrong with a rule. `secret` says whether it has one.
    pub(super) async fn check(&self, rule: &Rule, secret: bool, now: Timestamp) -> Vec<RuleFault> {
        let mut faults = Faults::default();
        let document = &rule.document;
        if document.name.trim().is_empty() || document.name.chars().count() > MAX_NAME {
            faults.note("/name", "must have 1 to 200 characters");
        }
        trigger(rule, secret, now, &mut faults);
        if document.actions.is_empty() {
            faults.note("/actions", "must hold at least one action");
        } else if document.actions.len() > MAX_ACTIONS {
            faults.note("/actions", format!("must hold at most {MAX_ACTIONS} actions"));
        }
        let variables = variables(&document.trigger);
        let ask = |source: &str, wanted| Question { source: source.into(), wanted, variables };
        let mut asked = vec![("/condition".to_owned(), ask(&document.condition, Wanted::Verdict))];
        if let Some(source) = &document.for_each_tenant {
            asked.push(("/for_each_tenant".to_owned(), ask(source, Wanted::Verdict)));
        }
        for (index, one) in document.actions.iter().enumerate().take(MAX_ACTIONS) {
            action(one, index, &mut faults);
            let (template, found) = Template::read(&template_of(one), &format!("/actions/{index}"));
            for fault in found {
                faults.note(fault.pointer, fault.message);
            }
            for placeholder in template.placeholders().iter().take(MAX_EXPRESSIONS) {
                asked.push((placeholder.pointer.clone(), ask(&placeholder.source, Wanted::Any)));
            }
        }
        let (pointers, questions): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let answers = self.tools.conditions.check(questions).await;
        for (pointer, found) in pointers.iter().zip(answers) {
            for fault in found {
                let place = fault.offset.map(|at| format!(" (at character {at})")).unwrap_or_default();
                faults.note(pointer, format!("{}{place}", fault.message));
            }
        }
        self.check_fields(document, variables, &mut faults).await;
        faults.0
    }

    /// What is wrong with the fields of actions whatever happens.
    async fn check_fields(&self, document: &RuleDocument, variables: &[Known], faults: &mut Faults) {
        let told: BTreeSet<String> = faults.0.iter().map(|fault| fault.pointer.clone()).collect();
        let actions = document.actions.iter().enumerate().take(MAX_ACTIONS);
        // What cannot be read has been told, and nothing more is known of it.
        let actions = actions.filter(|(index, _)| !told.contains(&format!("/actions/{index}")));
        let fields = actions.flat_map(|(index, action)| Field::all(action, index));
        let fields: Vec<_> = fields.filter(|field| !told.contains(field.pointer())).collect();
        // An expression that names no variable has one answer for ever.
        let varies = |source: &str| variables.iter().any(|known| source.contains(known.name));
        let constants: BTreeSet<_> = fields.iter().flat_map(Field::sources).cloned().collect();
        let constants: Vec<Arc<str>> = constants.into_iter().filter(|source| !varies(source)).collect();
        let mut answers = Vec::new();
        if !constants.is_empty() {
            let asked = constants.iter().map(|source| (Arc::clone(source), Wanted::Any)).collect();
            answers = self.tools.conditions.evaluate(asked, Arc::new(Scope::default())).await;
        }
        let known = constants.into_iter().zip(answers);
        let known: BTreeMap<Arc<str>, Value> =
            known.filter_map(|(source, answer)| Some((source, answer.ok()?))).collect();
        for field in &fields {
            if let Err(detail) = field.judge(&known) {
                faults.note(field.pointer(), detail);
            }
        }
    }
}

/// Occurrences are put off by an hour at most, in milliseconds.
const MAX_JITTER_MS: u64 = 3_600_000;

fn trigger(rule: &Rule, secret: bool, now: Timestamp, faults: &mut Faults) {
    match &rule.document.trigger {
        Trigger::Cron(cron) => {
            for fault in cron.schedule_faults(now) {
                faults.note(format!("/trigger/{}", fault.field.as_str()), fault.detail);
            }
            for (field, detail) in cron.misfire.faults() {
                faults.note(format!("/trigger/misfire/{field}"), detail);
            }
            if cron.jitter_ms > MAX_JITTER_MS {
                faults.note("/trigger/jitter_ms", "must be at most 3600000 (an hour)");
            }
        }
        Trigger::Webhook(webhook) => {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if !(8..=128).contains(&webhook.key.len()) || !webhook.key.bytes().all(good) {
                faults.note("/trigger/key", "must have 8 to 128 letters, digits, '-' and '_'");
            }
            if webhook.signature.scheme != Scheme::None && !secret {
                faults.note("/trigger/signature/secret", "is needed for this scheme");
            }
        }
        Trigger::Event { event } => {
            let known = EventPattern::JOBS.iter().map(|(name, _)| *name).collect::<Vec<_>>();
            if event.0.is_empty() || event.0.len() > 255 {
                faults.note("/trigger/event", "must have 1 to 255 characters");
            } else if event.is_about_jobs() && event.states().is_empty() {
                let detail = format!("no event of jobs is called so; there are {}", known.join(", "));
                faults.note("/trigger/event", detail);
            }
        }
        Trigger::Manual => {}
    }
}

fn action(action: &Action, index: usize, faults: &mut Faults) {
    let mut note = |field: &str, detail: String| faults.note(format!("/actions/{index}/{field}"), detail);
    if let Err(error) = Kind::new(&action.kind) {
        note("kind", error.to_string());
    }
    if let Some(priority) = &action.priority
        && Priority::parse(priority).is_none()
    {
        note("priority", "must be one of critical, high, medium, low, background".to_owned());
    }
    if let Some(policy) = &action.retry_policy {
        for fault in policy.faults() {
            note(&format!("retry_policy/{}", fault.field), format!("must be {}", fault.range));
        }
    }
    if action.timeout_ms.is_some_and(|ms| !(1..=JobWish::MAX_TIMEOUT_MS).contains(&ms)) {
        note("timeout_ms", format!("must be from 1 to {}", JobWish::MAX_TIMEOUT_MS));
    }
    if let Some(Target::Http(target)) = &action.target {
        for (name, _) in target.headers.iter().filter(|(name, value)| is_credential(name) && *value == MASK) {
            let fault = "is the mask that answers show in its place; send the credential itself";
            note(&format!("target/headers/{name}"), fault.to_owned());
        }
    }
    if action.labels.len() > MAX_LABELS {
        note("labels", format!("must have at most {MAX_LABELS} members"));
    }
    for key in action.labels.keys() {
        if let Err(detail) = label_key(key) {
            let mut field = "labels".to_owned();
            push_key(&mut field, key);
            note(&field, detail);
        }
    }
}

//! Rules made ready to be evaluated: what is read of them once for each revision.

use std::sync::{Arc, PoisonError};

use serde_json::{Value, json};
use taskflow_domain::Rule;
use taskflow_domain::rule::{Action, Trigger};
use taskflow_domain::schedule::Schedule;

use super::Automation;
use crate::template::{Template, TemplateFault};

/// A rule made ready to be evaluated, kept for as long as its revision lasts.
#[derive(Debug)]
pub(super) struct Ready {
    revision: u32,
    pub(super) condition: Arc<str>,
    pub(super) for_each: Option<Arc<str>>,
    pub(super) templates: Result<Vec<Template>, Vec<TemplateFault>>,
    pub(super) schedule: Option<Result<Schedule, String>>,
}

impl Ready {
    pub(super) fn new(rule: &Rule) -> Self {
        let mut templates = Vec::with_capacity(rule.document.actions.len());
        let mut faults = Vec::new();
        for (index, action) in rule.document.actions.iter().enumerate() {
            match Template::parse(&template_of(action), &format!("/actions/{index}")) {
                Ok(template) => templates.push(template),
                Err(found) => faults.extend(found),
            }
        }
        let schedule = match &rule.document.trigger {
            Trigger::Cron(cron) => Some(cron.schedule(rule.id).map_err(|faults| {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                faults.join("; ")
            })),
            _ => None,
        };
        Self {
            revision: rule.revision,
            condition: rule.document.condition.as_str().into(),
            for_each: rule.document.for_each_tenant.as_deref().map(Into::into),
            templates: if faults.is_empty() { Ok(templates) } else { Err(faults) },
            schedule,
        }
    }
}

/// The parts of an action that hold templates, as one document.
pub(super) fn template_of(action: &Action) -> Value {
    json!({
        "queue": action.queue,
        "payload": action.payload,
        "labels": action.labels,
        "run_at": action.run_at,
        "idempotency_key": action.idempotency_key,
        "target": action.target,
    })
}

impl Automation {
    /// The rule made ready.
    pub(super) fn ready(&self, rule: &Rule) -> Arc<Ready> {
        const MOST: usize = 20_000;
        let key = (rule.tenant, rule.id);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = kept.get(&key).filter(|ready| ready.revision == rule.revision) {
            return Arc::clone(ready);
        }
        if kept.len() >= MOST {
            kept.clear();
        }
        let ready = Arc::new(Ready::new(rule));
        kept.insert(key, Arc::clone(&ready));
        ready
    }
}

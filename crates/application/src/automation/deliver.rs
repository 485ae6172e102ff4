//! What comes from outside: webhook deliveries and CloudEvents.

use std::sync::PoisonError;

use serde_json::Value;
use taskflow_domain::rule::{Trigger, TriggerKind};
use taskflow_domain::target::is_credential;
use taskflow_domain::{CorrelationId, EventId, Firing, InboundEvent, Json, Rule, RuleId, Timestamp};

use super::dispatch::of_event;
use super::fire::firings;
use super::{Automation, AutomationError};
use crate::access::{Access, Denied, Quota};
use crate::caller::Caller;
use crate::document::{has_nul, without_nul};
use crate::meter;
use crate::ports::{Appended, DeliveryRefused, Fire, FireClaim, Fired, Topic, Verified};

/// Refused deliveries that are kept of one rule in a minute. Whoever has no
/// secret cannot fill the disk.
const REJECTS_A_MINUTE: u32 = 60;

/// A call to a webhook's address.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its headers, by names in lower case. Of those that are not ASCII rules see
    /// nothing.
    pub headers: Vec<(String, String)>,
    /// Its body, byte by byte.
    pub body: Vec<u8>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// What is answered to a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivered {
    /// It is kept, and this came of it.
    Accepted {
        /// What its sender calls it, or else the engine.
        delivery_id: String,
        /// What came of it.
        firings: Vec<Firing>,
        /// Whether it had come before; then this is what came of it the first time.
        repeated: bool,
        /// What is left of the request rate that it counted in.
        quotas: Vec<Quota>,
    },
    /// The sender only asks whether somebody is there, and wants to hear this.
    Challenge(String),
}

/// A `CloudEvent`.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What its source calls it.
    pub id: String,
    /// From where.
    pub source: String,
    /// Its type.
    pub kind: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// Extension attributes and headers that a rule may look at: an object of texts.
    pub headers: Json,
    /// What it says.
    pub data: Json,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Automation {
    /// Whether a webhook's address is that of a rule.
    pub async fn has_webhook(&self, key: &str) -> Result<bool, AutomationError> {
        Ok(self.world.stores.rules.by_webhook_key(key).await?.is_some())
    }

    /// Takes in a webhook delivery. It is on disk, with what comes of it, when
    /// this returns; of one rule, one delivery id counts once. Whoever sends it has
    /// proved by the signature whose it is, so it counts in the tenant's request
    /// rate, of which `access` knows.
    pub async fn deliver(
        &self,
        access: &Access,
        key: &str,
        delivery: Delivery,
    ) -> Result<Delivered, AutomationError> {
        let now = self.world.clock.now();
        let rule = self.world.stores.rules.by_webhook_key(key).await?.ok_or(AutomationError::NotFound)?;
        let verified = match self.verify(&rule, &delivery, now).await? {
            Ok(verified) => verified,
            Err(refused) => {
                meter::received("rejected", 1);
                self.keep_reject(&rule, key, &refused.to_string(), now).await?;
                return Err(refused.into());
            }
        };
        if let Some(challenge) = verified.challenge {
            return Ok(Delivered::Challenge(challenge));
        }
        let quotas = self.count(access, &rule, key, now).await?;
        let event = self.delivered(&rule, key, &delivery, verified.delivery_id, now);
        let delivery_id = event.external_id.clone().unwrap_or_else(|| event.id.to_string());
        let claim = FireClaim::Delivery(Box::new(event.clone()));
        let mut fire = Fire { claim, firings: Vec::new(), fan_outs: Vec::new() };
        if rule.enabled
            && let Some(tenant) = self.world.stores.tenants.get_many(&[rule.tenant]).await?.pop()
        {
            self.add(&rule, &tenant, &of_event(&event, TriggerKind::Webhook, now), &mut fire).await;
        }
        let fired = self.commit(vec![fire]).await?;
        if let Some(fired @ Fired::Done(_)) = fired.first() {
            meter::received("accepted", 1);
            let firings = firings(fired).to_vec();
            return Ok(Delivered::Accepted { delivery_id, firings, repeated: false, quotas });
        }
        meter::received("duplicate", 1);
        let first = match self.world.stores.events.append(vec![event.clone()], false).await?.first() {
            Some(Appended::Duplicate(first)) => *first,
            // The first one was pruned just now: what came of it is not known any more.
            _ => event.id,
        };
        // What a rule does for many tenants comes later, and is not the sender's to see.
        let firings = match rule.document.for_each_tenant {
            Some(_) => Vec::new(),
            None => self.world.stores.rules.firings_of(rule.id, &Firing::event_key(first)).await?,
        };
        Ok(Delivered::Accepted { delivery_id, firings, repeated: true, quotas })
    }

    /// Takes one request from the allowance of the rule's tenant.
    async fn count(
        &self,
        access: &Access,
        rule: &Rule,
        key: &str,
        now: Timestamp,
    ) -> Result<Vec<Quota>, AutomationError> {
        let Some(owner) = self.world.stores.tenants.get_many(&[rule.tenant]).await?.pop() else {
            return Ok(Vec::new());
        };
        match access.count(&owner).await {
            Ok(quotas) => Ok(quotas),
            Err(Denied::Exhausted { retry_after_s, quotas, .. }) => {
                meter::received("rejected", 1);
                self.keep_reject(rule, key, "the tenant's request rate is used up", now).await?;
                Err(AutomationError::Exhausted { retry_after_s, quotas })
            }
            Err(Denied::Store(error)) => Err(error.into()),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// The id of a delivery that was verified, or why it is refused.
    async fn verify(
        &self,
        rule: &Rule,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<Result<Verified, DeliveryRefused>, AutomationError> {
        let Trigger::Webhook(webhook) = &rule.document.trigger else { return Err(AutomationError::NotFound) };
        let sealed = self.world.stores.rules.secrets(rule.tenant, rule.id).await?;
        let live = sealed.iter().filter(|secret| secret.expires_at.is_none_or(|until| until > now));
        let opened: Vec<_> = live.map(|secret| self.world.open_secret(rule, secret)).collect();
        let lost = opened.iter().any(Option::is_none);
        let secrets: Vec<_> = opened.into_iter().flatten().collect();
        let signatures = &self.tools.signatures;
        match signatures.verify(&webhook.signature, &secrets, &delivery.headers, &delivery.body, now) {
            // It may be good under the secret that cannot be looked at.
            Err(DeliveryRefused::Signature(_)) if lost => Err(AutomationError::SecretLost),
            verified => Ok(verified),
        }
    }

    fn delivered(
        &self,
        rule: &Rule,
        key: &str,
        delivery: &Delivery,
        id: Option<String>,
        now: Timestamp,
    ) -> InboundEvent {
        let event = EventId(self.world.ids.job(now).0);
        let text = String::from_utf8_lossy(&delivery.body);
        let data = match serde_json::from_str::<Value>(&text) {
            Ok(value) if has_nul(&value) => Json::from(&without_nul(value)),
            Ok(_) => Json::from_valid(&text),
            Err(_) => Json::from(&Value::String(text.replace('\0', "\u{fffd}"))),
        };
        let headers: serde_json::Map<String, Value> = delivery
            .headers
            .iter()
            .filter(|(name, value)| !hidden(name) && value.is_ascii())
            .map(|(name, value)| (name.clone(), Value::String(value.clone())))
            .collect();
        InboundEvent {
            tenant: rule.tenant,
            id: event,
            source: InboundEvent::webhook_source(key),
            kind: "webhook".to_owned(),
            external_id: id,
            subject: None,
            at: now,
            received_at: now,
            headers: Json::from(&Value::Object(headers)),
            data,
            correlation_id: CorrelationId(event.0),
            traceparent: delivery.traceparent.clone(),
            rejected: None,
        }
    }

    async fn keep_reject(
        &self,
        rule: &Rule,
        key: &str,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), AutomationError> {
        if !self.may_keep_reject(rule.id, now) {
            return Ok(());
        }
        let nothing = Delivery { headers: Vec::new(), body: b"null".to_vec(), traceparent: None };
        let mut event = self.delivered(rule, key, &nothing, None, now);
        event.rejected = Some(cause.to_owned());
        self.world.stores.events.append(vec![event], false).await?;
        Ok(())
    }

    fn may_keep_reject(&self, rule: RuleId, now: Timestamp) -> bool {
        let minute = now.micros() / 60_000_000;
        let mut rejects = self.rejects.lock().unwrap_or_else(PoisonError::into_inner);
        rejects.retain(|_, (of, _)| *of == minute);
        let (_, count) = rejects.entry(rule).or_insert((minute, 0));
        *count += 1;
        *count <= REJECTS_A_MINUTE
    }

    /// Takes in CloudEvents. They are on disk when this returns; of one source,
    /// one id counts once. What comes of them comes later.
    pub async fn ingest(
        &self,
        caller: &Caller,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Appended>, AutomationError> {
        let tenant = self.directory.find_or_make(caller).await?.ok_or(AutomationError::UnknownTenant)?;
        let now = self.world.clock.now();
        let inbound = events.into_iter().map(|event| {
            let id = EventId(self.world.ids.job(now).0);
            InboundEvent {
                tenant,
                id,
                source: event.source,
                kind: event.kind,
                external_id: Some(event.id),
                subject: event.subject,
                at: event.time.unwrap_or(now),
                received_at: now,
                headers: event.headers,
                data: event.data,
                correlation_id: CorrelationId(id.0),
                traceparent: event.traceparent,
                rejected: None,
            }
        });
        let appended = self.world.stores.events.append(inbound.collect(), true).await?;
        let new = appended.iter().filter(|answer| **answer == Appended::New).count();
        meter::received("accepted", new);
        meter::received("duplicate", appended.len() - new);
        if new > 0 {
            self.world.wakeups.nudge(Topic::Schedule);
        }
        Ok(appended)
    }
}

/// Headers that nobody has to see later: they may let somebody in.
fn hidden(name: &str) -> bool {
    is_credential(name)
}

//! Making rules, changing them, switching them on and off.

use serde_json::{Value, json};
use taskflow_domain::rule::{Health, Mode, Scheme, Trigger};
use taskflow_domain::{Rule, RuleDocument, RuleId, Scope, Timestamp};

use super::tick::cron;
use super::{Automation, AutomationError, RuleFault, webhook_key};
use crate::caller::Caller;
use crate::ports::{AuditNote, RulePut, SealedSecret, SecretOf, Topic};
use crate::sealing;

/// How often a change is tried again when the rule moved on in the meantime.
const TRIES: usize = 8;
/// How long the secret before the current one is still good, in milliseconds.
const ROTATION_MS: i64 = 24 * 3_600_000;

/// What the audit tells of a rule. Secrets are no part of its document.
fn told(rule: &Rule) -> Value {
    json!({
        "revision": rule.revision,
        "enabled": rule.enabled,
        "mode": rule.mode.as_str(),
        "document": serde_json::to_value(sealing::masked_document(&rule.document)).unwrap_or_default(),
    })
}

/// What the audit is told of what becomes of a rule.
fn note(
    caller: &Caller,
    now: Timestamp,
    action: &str,
    before: Option<&Rule>,
    after: Option<&Rule>,
) -> AuditNote {
    let id = after.or(before).map(|rule| rule.id.to_string()).unwrap_or_default();
    let change = (before.map(told), after.map(told));
    AuditNote::of(caller, now, Some(&caller.slug), action, format!("rule:{id}"), change)
}

/// A rule as it is asked for. A webhook trigger with an empty key gets one.
#[derive(Clone, PartialEq)]
pub struct RuleWish {
    /// What it says.
    pub document: RuleDocument,
    /// Whether it is on.
    pub enabled: bool,
    /// Whether it acts.
    pub mode: Mode,
    /// The secret of a webhook trigger; `None` leaves the rule the one it has.
    pub secret: Option<String>,
    /// The revision that a change is meant for; `None`: whatever it is.
    pub revision: Option<u32>,
}

impl std::fmt::Debug for RuleWish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleWish").field("document", &self.document).finish_non_exhaustive()
    }
}

/// How a rule is to be changed, besides the change itself.
#[derive(Clone, Copy, Default)]
struct Asked<'a> {
    /// Its new secret; without one it keeps what it has.
    secret: Option<&'a str>,
    /// The revision that is meant, if not whichever there is.
    revision: Option<u32>,
    /// Whether a whole document is put, and not only the rule switched.
    put: bool,
}

impl Automation {
    /// Makes a rule. All faults of it are told at once.
    pub async fn create(&self, caller: &Caller, wish: RuleWish) -> Result<Rule, AutomationError> {
        let tenant = self.directory.find_or_make(caller).await?.ok_or(AutomationError::UnknownTenant)?;
        if self.world.stores.rules.count(tenant, self.most_rules).await? >= self.most_rules {
            return Err(AutomationError::Full(self.most_rules));
        }
        let now = self.world.clock.now();
        let id = RuleId(self.world.ids.job(now).0);
        let rule = Rule {
            tenant,
            id,
            enabled: wish.enabled,
            mode: wish.mode,
            revision: 1,
            document: wish.document,
            next_at: None,
            queued_at: None,
            health: Health::default(),
            jobs_made: 0,
            created_at: now,
            updated_at: now,
        };
        let mut rule = self.prepare(caller, rule, None, wish.secret.is_some(), now).await?;
        let secrets = self.seal(&rule, wish.secret.as_deref(), &[], now)?;
        if self.put(caller, &mut rule, secrets.as_deref(), "rule.create", None).await? {
            Ok(rule)
        } else {
            Err(AutomationError::Contended)
        }
    }

    /// Puts a new document in the place of a rule's. A new secret leaves the old
    /// one good for a day.
    pub async fn replace(
        &self,
        caller: &Caller,
        id: RuleId,
        wish: RuleWish,
    ) -> Result<Rule, AutomationError> {
        let asked = Asked { secret: wish.secret.as_deref(), revision: wish.revision, put: true };
        self.change(caller, id, asked, |rule| {
            rule.document = wish.document.clone();
            rule.enabled = wish.enabled;
            rule.mode = wish.mode;
        })
        .await
    }

    /// Switches a rule on. What it missed while it was off is not made up for.
    pub async fn enable(&self, caller: &Caller, id: RuleId) -> Result<Rule, AutomationError> {
        self.change(caller, id, Asked::default(), |rule| rule.enabled = true).await
    }

    /// Switches a rule off.
    pub async fn disable(&self, caller: &Caller, id: RuleId) -> Result<Rule, AutomationError> {
        self.change(caller, id, Asked::default(), |rule| rule.enabled = false).await
    }

    /// Deletes a rule. Its firings and its jobs stay.
    pub async fn delete(&self, caller: &Caller, id: RuleId) -> Result<(), AutomationError> {
        let tenant = self.tenant(caller).await?;
        let old = self.steered(caller, id).await?;
        let now = self.world.clock.now();
        let note = note(caller, now, "rule.delete", Some(&old), None);
        let there = self.world.stores.rules.delete(tenant, id, now, Some(note)).await?;
        if there { Ok(()) } else { Err(AutomationError::NotFound) }
    }

    /// Reads, changes, checks and writes; again if the rule moved on in between.
    async fn change(
        &self,
        caller: &Caller,
        id: RuleId,
        Asked { secret, revision, put }: Asked<'_>,
        edit: impl Fn(&mut Rule),
    ) -> Result<Rule, AutomationError> {
        for _ in 0..TRIES {
            let old = self.steered(caller, id).await?;
            let mut rule = old.clone();
            edit(&mut rule);
            sealing::keep_masked(&old.document, &mut rule.document);
            webhook_key::keep(&old.document, &mut rule.document);
            let same = (rule.enabled, rule.mode, &rule.document) == (old.enabled, old.mode, &old.document);
            let kept = self.world.stores.rules.secrets(rule.tenant, id).await?;
            if put {
                self.keeps_credentials_that_open(&rule)?;
            }
            if put && secret.is_none() && signed(&rule.document) {
                self.keeps_what_opens(&old, &kept)?;
            }
            if same && secret.is_none() && !self.is_stale(&old, &kept) {
                return Ok(old);
            }
            if revision.is_some_and(|meant| meant != old.revision) {
                return Err(AutomationError::Moved(old.revision));
            }
            let now = self.world.clock.now();
            rule.revision += 1;
            rule.updated_at = now;
            let has_secret = secret.is_some() || !kept.is_empty();
            let mut rule = self.prepare(caller, rule, Some(&old), has_secret, now).await?;
            let secrets = match forgets(&rule, &kept) {
                Some(none) => Some(none),
                None => self.seal(&rule, secret, &kept, now)?,
            };
            let switched = rule.enabled != old.enabled
                && rule.document == old.document
                && rule.mode == old.mode
                && secret.is_none();
            let action = match (switched, rule.enabled) {
                (false, _) => "rule.put",
                (true, true) => "rule.enable",
                (true, false) => "rule.disable",
            };
            if self.put(caller, &mut rule, secrets.as_deref(), action, Some(&old)).await? {
                return Ok(rule);
            }
        }
        Err(AutomationError::Contended)
    }

    /// Writes a rule, with another webhook key if another tenant has the one that was
    /// chosen. Whether it stands; if not, it has moved on.
    async fn put(
        &self,
        caller: &Caller,
        rule: &mut Rule,
        secrets: Option<&[SealedSecret]>,
        action: &str,
        old: Option<&Rule>,
    ) -> Result<bool, AutomationError> {
        loop {
            let note = note(caller, self.world.clock.now(), action, old, Some(rule));
            let put = self.world.stores.rules.put(rule, secrets, &caller.actor, Some(note)).await?;
            match (put, &mut rule.document.trigger) {
                (RulePut::Done, _) => {
                    self.world.wakeups.nudge(Topic::Schedule);
                    return Ok(true);
                }
                (RulePut::KeyElsewhere, Trigger::Webhook(webhook)) => {
                    webhook.key = webhook_key::apart(&webhook.key, &self.world.ids.bytes());
                }
                (RulePut::KeyTaken | RulePut::KeyElsewhere, _) => return Err(AutomationError::KeyTaken),
                (RulePut::Conflict, _) => return Ok(false),
            }
        }
    }

    /// Fills in what a rule leaves to the engine, and checks it. `secret` says
    /// whether it has one.
    pub(super) async fn prepare(
        &self,
        caller: &Caller,
        mut rule: Rule,
        old: Option<&Rule>,
        secret: bool,
        now: Timestamp,
    ) -> Result<Rule, AutomationError> {
        if rule.document.for_each_tenant.is_some() && !caller.may(Scope::Operator) {
            return Err(AutomationError::Forbidden("for_each_tenant needs the scope operator"));
        }
        if let Trigger::Webhook(webhook) = &mut rule.document.trigger
            && webhook.key.is_empty()
        {
            webhook.key = hex(&self.world.ids.bytes());
        }
        let faults = self.check(&rule, secret, now).await;
        if !faults.is_empty() {
            return Err(AutomationError::Invalid(faults));
        }
        for target in rule.document.actions.iter_mut().filter_map(|action| action.target.as_mut()) {
            self.world.reseal_target(rule.tenant, target)?;
        }
        // A clock that goes on as before keeps its place, so that a change of
        // something else leaves out no occurrence.
        let same_clock = old.is_some_and(|old| {
            old.enabled && old.next_at.is_some() && cron(old).is_some() && cron(old) == cron(&rule)
        });
        if !rule.enabled || cron(&rule).is_none() {
            (rule.next_at, rule.queued_at) = (None, None);
        } else if !same_clock {
            let schedule = cron(&rule).and_then(|cron| cron.schedule(rule.id).ok());
            rule.next_at = schedule.and_then(|schedule| schedule.next_after(now)).map(|next| next.at);
            rule.queued_at = None;
        }
        Ok(rule)
    }

    /// A rule is not told to keep a secret that no delivery can be checked with.
    fn keeps_what_opens(&self, rule: &Rule, kept: &[SealedSecret]) -> Result<(), AutomationError> {
        let current = kept.iter().find(|kept| kept.slot == 0);
        if current.is_some_and(|current| self.world.open_secret(rule, current).is_none()) {
            return Err(AutomationError::KeepsLost);
        }
        Ok(())
    }

    /// A rule is not told to keep a credential of a target that no call can be made with.
    fn keeps_credentials_that_open(&self, rule: &Rule) -> Result<(), AutomationError> {
        let mut lost = Vec::new();
        for (action, at) in rule.document.actions.iter().zip(0..) {
            let names = action.target.iter().flat_map(|target| self.world.lost_headers(rule.tenant, target));
            lost.extend(names.map(|name| RuleFault {
                pointer: format!(
                    "/actions/{at}/target/headers/{}",
                    name.replace('~', "~0").replace('/', "~1")
                ),
                detail: "cannot be opened with any key of this process; send it again".to_owned(),
            }));
        }
        if lost.is_empty() { Ok(()) } else { Err(AutomationError::KeepsLostCredentials(lost)) }
    }

    /// Whether anything of a rule is sealed with a key that only opens any more.
    fn is_stale(&self, rule: &Rule, kept: &[SealedSecret]) -> bool {
        let Some(vault) = &self.world.vault else { return false };
        kept.iter().any(|kept| vault.is_stale(&kept.sealed)) || self.world.has_stale(&rule.document)
    }

    /// The secrets that a rule has, with the key that seals now where another one had.
    fn reseal(&self, rule: &Rule, kept: &[SealedSecret]) -> Result<Vec<SealedSecret>, String> {
        let vault = self.world.vault.as_ref().ok_or("there is no vault")?;
        let reseal = |kept: &SealedSecret| {
            if !vault.is_stale(&kept.sealed) {
                return Ok(kept.clone());
            }
            let of = SecretOf::Rule { tenant: rule.tenant, rule: rule.id, slot: kept.slot };
            let sealed = vault.seal(of, &vault.open(of, &kept.sealed)?)?;
            Ok(SealedSecret { sealed, ..kept.clone() })
        };
        kept.iter().map(reseal).collect()
    }

    /// The secrets of a rule with a new one, or `None` if it keeps those that it has
    /// as they are.
    fn seal(
        &self,
        rule: &Rule,
        secret: Option<&str>,
        kept: &[SealedSecret],
        now: Timestamp,
    ) -> Result<Option<Vec<SealedSecret>>, AutomationError> {
        let refused = |error: String| {
            tracing::error!(error, rule.id = %rule.id, "a secret could not be sealed or opened");
            AutomationError::NoVault
        };
        let Some(secret) = secret else {
            if kept.is_empty() || !self.is_stale(rule, kept) {
                return Ok(None);
            }
            return self.reseal(rule, kept).map(Some).map_err(refused);
        };
        let vault = self.world.vault.as_ref().ok_or(AutomationError::NoVault)?;
        let of = |slot| SecretOf::Rule { tenant: rule.tenant, rule: rule.id, slot };
        let sealed = vault.seal(of(0), secret.as_bytes()).map_err(refused)?;
        let mut secrets = vec![SealedSecret { slot: 0, sealed, expires_at: None }];
        // What is sealed is bound to its slot, so it is sealed anew. One that no key opens
        // is good for nothing more.
        let current = kept.iter().find(|kept| kept.slot == 0);
        if let Some(plain) = current.and_then(|current| self.world.open_secret(rule, current)) {
            let sealed = vault.seal(of(1), &plain).map_err(refused)?;
            let expires_at = Some(now.plus_millis(ROTATION_MS));
            secrets.push(SealedSecret { slot: 1, sealed, expires_at });
        }
        Ok(Some(secrets))
    }
}

/// A rule whose deliveries are not signed any more keeps no secret.
fn forgets(rule: &Rule, kept: &[SealedSecret]) -> Option<Vec<SealedSecret>> {
    (!signed(&rule.document) && !kept.is_empty()).then(Vec::new)
}

/// Whether what triggers a rule is signed.
fn signed(document: &RuleDocument) -> bool {
    matches!(&document.trigger, Trigger::Webhook(webhook) if webhook.signature.scheme != Scheme::None)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

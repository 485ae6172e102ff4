//! Looking at rules and at what they came to.

use std::collections::BTreeMap;

use taskflow_domain::{EventId, Firing, FiringId, InboundEvent, Rule, RuleId, Scope, TenantSlug, Timestamp};

use super::{Automation, AutomationError};
use crate::caller::Caller;
use crate::jobs::Listed;
use crate::ports::{EventFilter, FiringCount, FiringPage, RulePage, StoreError};

/// What a rule came to, all in all.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleStats {
    /// Firings by what they came to, and why.
    pub counts: Vec<FiringCount>,
    /// The rule, with its health, the jobs that it made and its next occurrence.
    pub rule: Rule,
}

impl Automation {
    /// One rule.
    pub async fn get(&self, caller: &Caller, id: RuleId) -> Result<Rule, AutomationError> {
        let tenant = self.tenant(caller).await?;
        self.world.stores.rules.get(tenant, id).await?.ok_or(AutomationError::NotFound)
    }

    /// A rule that is to be started, tried, changed, or asked what it came to. One
    /// that acts for many tenants is an operator's, whosever tenant it lies in.
    pub(super) async fn steered(&self, caller: &Caller, id: RuleId) -> Result<Rule, AutomationError> {
        let rule = self.get(caller, id).await?;
        if rule.document.for_each_tenant.is_some() && !caller.may(Scope::Operator) {
            return Err(AutomationError::Forbidden("a rule with for_each_tenant is an operator's"));
        }
        Ok(rule)
    }

    /// Whether secrets are kept for a rule, by slot.
    pub async fn has_secret(&self, rule: &Rule) -> Result<bool, AutomationError> {
        Ok(!self.world.stores.rules.secrets(rule.tenant, rule.id).await?.is_empty())
    }

    /// Rules by rising id.
    pub async fn list(&self, caller: &Caller, page: RulePage) -> Result<Listed<Rule>, AutomationError> {
        let Some(tenant) = self.directory.find(caller).await? else {
            return Ok(Listed { items: Vec::new(), more: false });
        };
        let longer = RulePage { limit: page.limit + 1, ..page };
        let rules = self.world.stores.rules.list(tenant, longer).await?;
        Ok(Listed::cut_at(rules, page.limit, |rule| {
            let weigh = |action| serde_json::to_vec(action).map_or(0, |text| text.len());
            rule.document.actions.iter().map(weigh).sum()
        }))
    }

    /// A rule's firings, newest first; only those for `of`, if it is given.
    pub async fn firings(
        &self,
        caller: &Caller,
        id: RuleId,
        of: Option<&TenantSlug>,
        page: FiringPage,
    ) -> Result<Listed<Firing>, AutomationError> {
        let rule = self.steered(caller, id).await?;
        let tenant = match of {
            Some(slug) => match self.world.stores.tenants.get(slug).await? {
                Some(tenant) => Some(tenant.id),
                None => return Ok(Listed { items: Vec::new(), more: false }),
            },
            None => None,
        };
        let longer = FiringPage { limit: page.limit + 1, tenant, ..page };
        let firings = self.world.stores.rules.firings(rule.tenant, id, longer).await?;
        Ok(Listed::cut(firings, page.limit))
    }

    /// Firings with the names of the tenants that they were for.
    pub async fn named(&self, firings: Vec<Firing>) -> Result<Vec<(Firing, TenantSlug)>, AutomationError> {
        let mut of: Vec<_> = firings.iter().map(|firing| firing.tenant).collect();
        of.sort_unstable();
        of.dedup();
        let tenants = self.world.stores.tenants.get_many(&of).await?;
        let slugs: BTreeMap<_, _> = tenants.into_iter().map(|tenant| (tenant.id, tenant.slug)).collect();
        let name = |firing: Firing| match slugs.get(&firing.tenant) {
            Some(slug) => Ok((firing, slug.clone())),
            None => Err(StoreError::Corrupt {
                table: "firing",
                column: "tenant_id",
                id: firing.id.to_string(),
                detail: "there is no such tenant".to_owned(),
            }),
        };
        Ok(firings.into_iter().map(name).collect::<Result<_, _>>()?)
    }

    /// One firing for the caller's tenant.
    pub async fn firing(&self, caller: &Caller, id: FiringId) -> Result<Firing, AutomationError> {
        let tenant = self.tenant(caller).await?;
        self.world.stores.rules.firing(tenant, id).await?.ok_or(AutomationError::NotFound)
    }

    /// What a rule came to, all in all.
    pub async fn stats(&self, caller: &Caller, id: RuleId) -> Result<RuleStats, AutomationError> {
        let rule = self.steered(caller, id).await?;
        let counts = self.world.stores.rules.counts(rule.tenant, id).await?;
        Ok(RuleStats { counts, rule })
    }

    /// What came to a webhook rule from outside, newest first, with what was
    /// refused and why.
    pub async fn deliveries(
        &self,
        caller: &Caller,
        id: RuleId,
        since: Option<Timestamp>,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Listed<InboundEvent>, AutomationError> {
        let rule = self.get(caller, id).await?;
        let taskflow_domain::rule::Trigger::Webhook(webhook) = &rule.document.trigger else {
            return Err(AutomationError::WrongTrigger("webhook"));
        };
        let source = Some(InboundEvent::webhook_source(&webhook.key));
        let filter = EventFilter { source, rejected: true, since, before, ..EventFilter::default() };
        let found = self.world.stores.events.recent(rule.tenant, &filter, limit + 1).await?;
        Ok(Listed::cut(found, limit))
    }
}

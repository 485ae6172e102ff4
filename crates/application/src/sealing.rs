//! Credentials in the headers of targets: sealed before they are stored, opened
//! for the call alone.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use taskflow_domain::target::{HttpTarget, Target, is_credential};
use taskflow_domain::{Rule, RuleDocument, TenantId};

use crate::World;
use crate::ports::{SealedSecret, SecretOf, StoreError, StoreResult, Vault};

/// What answers show in the place of a credential.
pub const MASK: &str = "***";

fn refused(error: impl std::fmt::Display) -> StoreError {
    StoreError::Rejected(format!("a credential could not be sealed or opened: {error}"))
}

impl World {
    /// Seals the credentials of a target of `tenant`, if there is a vault. Those
    /// that are still to be rendered are no credentials yet.
    pub(crate) fn seal_target(&self, tenant: TenantId, target: &mut Target) -> StoreResult<()> {
        let (Some(vault), Target::Http(http)) = (&self.vault, target) else { return Ok(()) };
        let secret = |name: &String, value: &mut String| is_credential(name) && !value.contains("${");
        let clear: Vec<_> = http.headers.extract_if(.., secret).collect();
        for (name, value) in clear {
            let sealed = vault.seal(SecretOf::Header { tenant }, value.as_bytes()).map_err(refused)?;
            http.sealed_headers.insert(name, STANDARD.encode(sealed));
        }
        Ok(())
    }

    /// Whether a credential of the target was sealed with a key that only opens any more.
    fn is_stale(&self, target: &Target) -> bool {
        let (Some(vault), Target::Http(http)) = (&self.vault, target) else { return false };
        let stale = |sealed: &String| STANDARD.decode(sealed).is_ok_and(|sealed| vault.is_stale(&sealed));
        http.sealed_headers.values().any(stale)
    }

    /// The headers of a target of `tenant` whose credentials no key of this process opens.
    pub(crate) fn lost_headers(&self, tenant: TenantId, target: &Target) -> Vec<String> {
        let Target::Http(http) = target else { return Vec::new() };
        let opens = |sealed: &str| {
            let plain = STANDARD.decode(sealed).map_err(|_| "it is not sealed well".to_owned());
            let vault = self.vault.as_ref().ok_or_else(|| "this process has no key".to_owned());
            vault.and_then(|vault| vault.open(SecretOf::Header { tenant }, &plain?))
        };
        let lost = http.sealed_headers.iter().filter_map(|(name, sealed)| Some((name, opens(sealed).err()?)));
        lost.map(|(name, error)| {
            tracing::error!(error, header = name, "a credential cannot be opened");
            name.clone()
        })
        .collect()
    }

    /// Whether a credential of any of the document's targets was.
    pub(crate) fn has_stale(&self, document: &RuleDocument) -> bool {
        document
            .actions
            .iter()
            .filter_map(|action| action.target.as_ref())
            .any(|target| self.is_stale(target))
    }

    /// Seals, and anew what a key has sealed that only opens any more.
    pub(crate) fn reseal_target(&self, tenant: TenantId, target: &mut Target) -> StoreResult<()> {
        if self.is_stale(target)
            && let Target::Http(http) = target
        {
            http.headers = open_headers(self.vault.as_deref(), tenant, http).map_err(refused)?;
            http.sealed_headers.clear();
        }
        self.seal_target(tenant, target)
    }

    /// Seals anew for `to` what was sealed for `from`, with whatever else of the
    /// target is a credential.
    pub(crate) fn pass_target(&self, from: TenantId, to: TenantId, target: &mut Target) -> StoreResult<()> {
        if let Target::Http(http) = target
            && from != to
            && !http.sealed_headers.is_empty()
        {
            http.headers = open_headers(self.vault.as_deref(), from, http).map_err(refused)?;
            http.sealed_headers.clear();
        }
        self.seal_target(to, target)
    }

    /// A secret of a rule; `None` of one that no key of this process opens.
    pub(crate) fn open_secret(&self, rule: &Rule, kept: &SealedSecret) -> Option<Vec<u8>> {
        let of = SecretOf::Rule { tenant: rule.tenant, rule: rule.id, slot: kept.slot };
        let vault = self.vault.as_ref().ok_or_else(|| "this process has no key".to_owned());
        let opened = vault.and_then(|vault| vault.open(of, &kept.sealed));
        opened
            .inspect_err(|error| tracing::error!(error, rule.id = %rule.id, "a secret cannot be opened"))
            .ok()
    }
}

/// All headers of a target of `tenant` as they are to be sent. The error says what
/// is wrong, without any credential.
pub fn open_headers(
    vault: Option<&dyn Vault>,
    tenant: TenantId,
    target: &HttpTarget,
) -> Result<BTreeMap<String, String>, String> {
    let mut headers = target.headers.clone();
    for (name, sealed) in &target.sealed_headers {
        let vault = vault.ok_or_else(|| {
            format!("the header {name} is sealed, and this process has no key: set TASKFLOW_SECRETS_KEY")
        })?;
        let plain = STANDARD.decode(sealed).map_err(|_| format!("the header {name} is not sealed well"))?;
        let plain = vault.open(SecretOf::Header { tenant }, &plain)?;
        let plain = String::from_utf8(plain).map_err(|_| format!("the header {name} is no text"))?;
        headers.insert(name.clone(), plain);
    }
    Ok(headers)
}

/// The target as it may be shown, with [`MASK`] in the place of each credential.
#[must_use]
pub fn masked(target: &Target) -> Target {
    let mut target = target.clone();
    if let Target::Http(http) = &mut target {
        let sealed = std::mem::take(&mut http.sealed_headers);
        http.headers.extend(sealed.into_keys().map(|name| (name, MASK.to_owned())));
        for (name, value) in &mut http.headers {
            if is_credential(name) && !value.contains("${") {
                MASK.clone_into(value);
            }
        }
    }
    target
}

/// The document of a rule as it may be shown.
#[must_use]
pub fn masked_document(document: &RuleDocument) -> RuleDocument {
    let mut document = document.clone();
    for target in document.actions.iter_mut().filter_map(|action| action.target.as_mut()) {
        *target = masked(target);
    }
    document
}

/// Puts into `new` the credentials of `old` where answers showed a mask, so that a
/// rule can be read, changed and written back. Only where the URL is the same: a
/// credential does not follow a change of whom it is shown to.
pub(crate) fn keep_masked(old: &RuleDocument, new: &mut RuleDocument) {
    for (old, new) in old.actions.iter().zip(&mut new.actions) {
        let (Some(Target::Http(old)), Some(Target::Http(new))) = (&old.target, &mut new.target) else {
            continue;
        };
        if old.url != new.url {
            continue;
        }
        let masked = |name: &String, value: &mut String| is_credential(name) && value.as_str() == MASK;
        let names: Vec<_> = new.headers.extract_if(.., masked).map(|(name, _)| name).collect();
        for name in names {
            if let Some(sealed) = old.sealed_headers.get(&name) {
                new.sealed_headers.insert(name, sealed.clone());
            } else {
                let clear = old.headers.get(&name).cloned().unwrap_or_else(|| MASK.to_owned());
                new.headers.insert(name, clear);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use taskflow_domain::target::Method;

    use super::*;

    /// Seals by turning bytes around its tenant's number.
    struct Toy;

    impl Vault for Toy {
        fn seal(&self, of: SecretOf, secret: &[u8]) -> Result<Vec<u8>, String> {
            let SecretOf::Header { tenant } = of else { return Err("no header".into()) };
            Ok([&tenant.0.to_be_bytes(), secret].concat())
        }

        fn open(&self, of: SecretOf, sealed: &[u8]) -> Result<Vec<u8>, String> {
            let SecretOf::Header { tenant } = of else { return Err("no header".into()) };
            sealed.strip_prefix(&tenant.0.to_be_bytes()).map(<[u8]>::to_vec).ok_or_else(|| "another's".into())
        }

        fn is_stale(&self, _: &[u8]) -> bool {
            false
        }
    }

    fn target(headers: &[(&str, &str)]) -> HttpTarget {
        HttpTarget {
            url: "http://127.0.0.1/".into(),
            method: Method::Post,
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            sealed_headers: BTreeMap::new(),
            permanent_statuses: Vec::new(),
            retryable_statuses: Vec::new(),
        }
    }

    #[test]
    fn a_sealed_header_opens_for_its_tenant_alone() {
        let mut target = target(&[("x-team", "a")]);
        let sealed = Toy.seal(SecretOf::Header { tenant: TenantId(1) }, b"Bearer x").unwrap();
        target.sealed_headers.insert("Authorization".into(), STANDARD.encode(sealed));
        let open = |tenant| open_headers(Some(&Toy), TenantId(tenant), &target);
        let all = [("Authorization", "Bearer x"), ("x-team", "a")];
        assert_eq!(open(1).unwrap(), all.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert!(open(2).is_err());
        assert!(open_headers(None, TenantId(1), &target).unwrap_err().contains("TASKFLOW_SECRETS_KEY"));
    }
}

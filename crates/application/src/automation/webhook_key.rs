//! The keys that end the addresses of webhooks.
//!
//! An address holds nothing but the key, so two tenants cannot have the same one. A
//! tenant that chooses a key which another one has is not told so: its rule is kept
//! like any other, with a key of its own that begins with what it chose. The answer
//! shows the key in force, as always.

use taskflow_domain::RuleDocument;
use taskflow_domain::rule::Trigger;

use super::save::hex;

/// The longest key.
const LONGEST: usize = 128;
/// The digits of 16 random bytes.
const DIGITS: usize = 32;

/// What a key begins with that was set apart from `chosen`.
fn stem(chosen: &str) -> &str {
    // A key that is checked is ASCII; of any other nothing is lost but the likeness.
    chosen.get(..LONGEST - DIGITS - 1).unwrap_or(chosen)
}

/// A key in the place of `chosen`, of random digits.
pub(super) fn apart(chosen: &str, random: &[u8; 16]) -> String {
    format!("{}-{}", stem(chosen), hex(random))
}

fn is_apart(key: &str, chosen: &str) -> bool {
    let digits = key.strip_prefix(stem(chosen)).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Leaves a rule the key that it has, if the change names none, or names the one that
/// its own was set apart from: a rule that is put as it was first written is the same.
pub(super) fn keep(old: &RuleDocument, new: &mut RuleDocument) {
    if let (Trigger::Webhook(old), Trigger::Webhook(new)) = (&old.trigger, &mut new.trigger)
        && (new.key.is_empty() || is_apart(&old.key, &new.key))
    {
        new.key.clone_from(&old.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_set_apart_is_known_by_what_was_chosen() {
        for chosen in ["deploys-1", &"k".repeat(LONGEST)] {
            let key = apart(chosen, &[0xa5; 16]);
            assert!(key.len() <= LONGEST && key.starts_with(stem(chosen)) && key.ends_with("a5a5"));
            assert!(is_apart(&key, chosen) && !is_apart(chosen, chosen) && !is_apart(&key, "deploys"));
        }
    }
}

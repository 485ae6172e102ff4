//! What single fields of a job must be, whoever asks for the job: a caller, or
//! the author of a rule.

/// The most labels of one job.
pub const MAX_LABELS: usize = 32;
/// The longest key of a label, in characters.
const MAX_LABEL_KEY: usize = 63;
/// The longest value of a label, in characters.
const MAX_LABEL_VALUE: usize = 255;
/// The longest idempotency key, in characters.
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// Whether a text can be the key of a label.
pub fn label_key(key: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-');
    if key.is_empty() || key.len() > MAX_LABEL_KEY || !key.bytes().all(allowed) {
        return Err(format!("the key of a label has 1 to {MAX_LABEL_KEY} letters, digits and '. _ / -'"));
    }
    Ok(())
}

/// Whether a text can be the value of a label.
pub fn label_value(value: &str) -> Result<(), String> {
    if value.chars().count() > MAX_LABEL_VALUE {
        return Err(format!("the value of a label has at most {MAX_LABEL_VALUE} characters"));
    }
    Ok(())
}

/// Whether a text can be an idempotency key.
pub fn idempotency_key(text: &str) -> Result<(), String> {
    if (1..=MAX_IDEMPOTENCY_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(format!("must have 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_judged_at_their_bounds() {
        let long = |length| "k".repeat(length);
        assert_eq!(label_key(&long(63)), Ok(()));
        assert!(label_key("").is_err() && label_key("a b").is_err() && label_key(&long(64)).is_err());
        assert_eq!(label_value(&"é".repeat(255)), Ok(()));
        assert!(label_value(&"é".repeat(256)).is_err());
        assert_eq!(idempotency_key(&long(255)), Ok(()));
        for bad in ["", "a b", "é"] {
            assert!(idempotency_key(bad).is_err(), "{bad}");
        }
        assert!(idempotency_key(&long(256)).is_err());
    }
}

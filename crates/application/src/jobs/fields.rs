//! What single fields of a job must be, whoever asks for the job: a caller, or
//! the author of a rule.

use url::Url;

/// The most labels of one job.
pub const MAX_LABELS: usize = 32;
/// The longest key of a label, in characters.
const MAX_LABEL_KEY: usize = 63;
/// The longest value of a label, in characters.
const MAX_LABEL_VALUE: usize = 255;
/// The longest idempotency key, in characters.
const MAX_IDEMPOTENCY_KEY: usize = 255;
/// The longest URL of a target, in bytes.
const MAX_URL: usize = 2_048;
/// The longest value of a header, in bytes.
const MAX_HEADER_VALUE: usize = 4_096;

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

/// Whether a text can be part of a URL.
pub(crate) fn url_part(text: &str) -> Result<(), String> {
    if text.len() > MAX_URL {
        Err(format!("must have at most {MAX_URL} bytes"))
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("must be ASCII without spaces; percent-encode the rest".to_owned())
    } else {
        Ok(())
    }
}

/// Whether a URL can begin with a text, be it more or less than the whole scheme.
pub(crate) fn url_start(text: &str) -> Result<(), String> {
    if ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme) || scheme.starts_with(text)) {
        Ok(())
    } else {
        Err("must begin with http:// or https://, in lower case".to_owned())
    }
}

/// The URL of a target. Where its host leads is looked at when it is called: what a
/// worker may reach is the worker's to say.
pub fn target_url(text: &str) -> Result<Url, String> {
    url_part(text)?;
    url_start(text)?;
    let url = Url::parse(text).map_err(|error| format!("must be an absolute URL: {error}"))?;
    let fault = if !url.username().is_empty() || url.password().is_some() {
        // Logs would show them.
        "must not hold a user name or a password; send them in a header"
    } else if url.port() == Some(0) {
        "must not name port 0"
    } else if url.fragment().is_some() {
        "must not have a fragment"
    } else {
        return Ok(url);
    };
    Err(fault.to_owned())
}

/// Whether a text can be part of the value of a header.
pub(crate) fn header_part(text: &str) -> Result<(), String> {
    let visible = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if visible && text.len() <= MAX_HEADER_VALUE {
        Ok(())
    } else {
        Err(format!("must be visible ASCII of at most {MAX_HEADER_VALUE} characters"))
    }
}

/// Whether a text can be the value of a header.
pub fn header_value(text: &str) -> Result<(), String> {
    header_part(text)?;
    if text.trim_matches(' ') == text { Ok(()) } else { Err("must not have space around it".to_owned()) }
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

    #[test]
    fn urls_are_those_that_can_be_called() {
        for good in [
            "http://example.com",
            "https://example.com:8443/a/b?c=d",
            "http://127.0.0.1:9000/send",
            "http://[::1]:9000/",
        ] {
            assert!(target_url(good).is_ok(), "{good}");
        }
        for (fault, bad) in [
            ("absolute URL", &["http", "http://", "http://[::1", "http://a:99999/", "http://256.1.1.1/"][..]),
            (
                "begin with",
                &["/x", "//x/", "a.example", "ftp://a/", "file:///x", "HTTPS://A/", "data:,x", "ws://a/"],
            ),
            (
                "user name",
                &["http://u@a/", "http://u:p@a/", "http://:p@a/", "https://example.com@127.0.0.1/"],
            ),
            ("without spaces", &[" http://a/", "http://a/\n", "http://a/b c", "http://a/\0", "http://ä/"]),
            ("port 0", &["http://a:0/"]),
            ("fragment", &["http://a/#", "http://a/#x"]),
        ] {
            for text in bad {
                let told = target_url(text).unwrap_err();
                assert!(told.contains(fault), "{text}: {told}");
            }
        }
        assert!(target_url("").is_err());
        assert!(target_url(&format!("http://a/{}", "x".repeat(2_048))).unwrap_err().contains("2048"));
    }

    #[test]
    fn headers_are_what_can_be_sent() {
        assert_eq!(header_value("Bearer a b"), Ok(()));
        for bad in [" a", "a ", "a\tb", "é", "a\r\nb"] {
            assert!(header_value(bad).is_err(), "{bad:?}");
        }
        assert!(header_value(&"x".repeat(4_097)).is_err());
    }
}

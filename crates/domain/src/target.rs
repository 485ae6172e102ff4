//! Where a job executes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The method of a call to an HTTP target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET: the payload is not sent.
    Get,
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl Method {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// What gives a credential away wherever it stands in the name of a header.
const INSIDE: [&str; 20] = [
    "token",
    "secret",
    "passw",
    "passcode",
    "passphrase",
    "credential",
    "signature",
    "cookie",
    "apikey",
    "accesskey",
    "auth",
    "session",
    "sessid",
    "bearer",
    "jwt",
    "csrf",
    "xsrf",
    "hmac",
    "saml",
    "login",
];
/// What gives it away as a whole word, being part of others that tell nothing:
/// `shipping`, `monkey`.
const WORDS: [&str; 15] = [
    "key", "keys", "pass", "pwd", "pw", "sid", "pin", "otp", "totp", "mfa", "2fa", "sig", "sign", "cred",
    "creds",
];

/// Whether the value of the header `name` is a credential, by the words of its
/// name: whoever may look at a job does not need it, and the call gets it all the
/// same. Rather one too many than one too few.
pub fn is_credential(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    INSIDE.iter().any(|part| lower.contains(part))
        || (words(name).any(|word| WORDS.contains(&word.as_str())) && !lower.ends_with("idempotency-key"))
}

/// The words of a name, in lower case: what stands between signs, and what begins
/// with a capital behind a small letter, without the number that it may end in.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut spaced = String::with_capacity(name.len() + 4);
    let mut small = false;
    for letter in name.chars() {
        if small && letter.is_ascii_uppercase() {
            spaced.push(' ');
        }
        small = letter.is_ascii_lowercase();
        spaced.push(if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { ' ' });
    }
    let words: Vec<_> = spaced.split_ascii_whitespace().map(str::to_owned).collect();
    words.into_iter().map(|word| word.trim_end_matches(|digit: char| digit.is_ascii_digit()).to_owned())
}

/// An endpoint that the worker calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTarget {
    /// Absolute, `http` or `https`.
    pub url: String,
    /// How it is called.
    #[serde(default)]
    pub method: Method,
    /// Sent as they stand, after the identifying headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Headers whose values were sealed, with what the vault made of each in Base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sealed_headers: BTreeMap<String, String>,
    /// Answers that end the job although they would be retried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permanent_statuses: Vec<u16>,
    /// Answers that are retried although they would end the job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retryable_statuses: Vec<u16>,
}

/// What an HTTP answer means for the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// The attempt succeeded.
    Success,
    /// The attempt failed and may be repeated.
    Retryable,
    /// The attempt failed, and repeating it is pointless.
    Permanent,
}

impl HttpTarget {
    /// The meaning of `status`, the target's own lists first.
    pub fn classify(&self, status: u16) -> StatusClass {
        if self.permanent_statuses.contains(&status) {
            StatusClass::Permanent
        } else if self.retryable_statuses.contains(&status) {
            StatusClass::Retryable
        } else {
            match status {
                200..=299 => StatusClass::Success,
                408 | 425 | 429 | 500..=599 => StatusClass::Retryable,
                _ => StatusClass::Permanent,
            }
        }
    }
}

/// Work that the worker does by itself, for trying things out and for measuring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    /// Succeeds at once.
    Noop,
    /// Succeeds with the payload as its result.
    Echo,
    /// Succeeds after `ms`.
    Sleep,
    /// Fails, retryably, after `ms`.
    Fail,
}

/// Where a job executes. A job without one waits for a pulling worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// An HTTP endpoint.
    Http(HttpTarget),
    /// Inside the worker.
    Builtin {
        /// Which work.
        name: Builtin,
        /// How long it takes, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ms: Option<u64>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_known_by_their_names() {
        let secret = "Authorization Cookie X-Api-Key apikey DD-API-KEY X-Vault-Token X-Secret \
            Ocp-Apim-Subscription-Key X-Amz-Security-Token Private-Key X-Auth Proxy-Authorization X-JWT \
            X-Bearer X-Pin X-CSRF X-CSRF-Token X-XSRF-TOKEN X-Sig X-Sign X-Signature X-Login \
            X-Session X-SessionId JSESSIONID X-OTP X-2FA X-Credential X-Credentials X-Creds \
            X-Passwd X-Passcode X-UserPin X-AccountKey2 x.api.key x_accesskey X-Hmac-Sha256";
        for name in secret.split(' ') {
            assert!(is_credential(name), "{name}");
        }
        let open = "Content-Type X-Team Idempotency-Key Accept X-Monkey X-Passenger X-Shipping X-Ping \
            X-Signal X-Design X-Side User-Agent X-Request-Id X-Mfactor";
        for name in open.split(' ') {
            assert!(!is_credential(name), "{name}");
        }
    }

    #[test]
    fn statuses_have_classes() {
        let mut target = HttpTarget {
            url: "http://127.0.0.1/".into(),
            method: Method::Post,
            headers: BTreeMap::new(),
            sealed_headers: BTreeMap::new(),
            permanent_statuses: vec![503],
            retryable_statuses: vec![404],
        };
        assert_eq!(target.classify(204), StatusClass::Success);
        assert_eq!(target.classify(503), StatusClass::Permanent);
        assert_eq!(target.classify(404), StatusClass::Retryable);
        target.permanent_statuses.clear();
        target.retryable_statuses.clear();
        for status in [408, 425, 429, 500, 503, 599] {
            assert_eq!(target.classify(status), StatusClass::Retryable, "{status}");
        }
        for status in [301, 302, 400, 404, 410, 422] {
            assert_eq!(target.classify(status), StatusClass::Permanent, "{status}");
        }
    }

    #[test]
    fn a_target_keeps_its_shape() {
        let text = r#"{"type":"builtin","name":"sleep","ms":5}"#;
        let target: Target = serde_json::from_str(text).unwrap();
        assert_eq!(target, Target::Builtin { name: Builtin::Sleep, ms: Some(5) });
        assert_eq!(serde_json::to_string(&target).unwrap(), text);
        let http = r#"{"type":"http","url":"http://a/","method":"POST","headers":{}}"#;
        let target: Target = serde_json::from_str(http).unwrap();
        assert_eq!(serde_json::to_string(&target).unwrap(), http);
        assert!(serde_json::from_str::<Target>(r#"{"type":"http","url":"x","uri":1}"#).is_err());
    }
}

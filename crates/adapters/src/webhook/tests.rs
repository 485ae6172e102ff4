//! The schemes against vectors that their authors publish, and every way to get
//! a signature wrong.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use taskflow_application::ports::{Ids, SecretOf, Vault};
use taskflow_domain::{JobId, RuleId, TenantId};

use super::*;

mod names;

type Headers = Vec<(String, String)>;

fn headers(list: &[(&str, &str)]) -> Headers {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn spec(scheme: Scheme) -> SignatureSpec {
    SignatureSpec { scheme, ..SignatureSpec::default() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn encoded(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A delivery that is good.
struct Case {
    spec: SignatureSpec,
    secret: &'static str,
    headers: Headers,
    body: Vec<u8>,
    now: i64,
    id: Option<&'static str>,
}

impl Case {
    fn verify(
        &self,
        secrets: &[&str],
        headers: &Headers,
        body: &[u8],
        now: i64,
    ) -> Result<Verified, DeliveryRefused> {
        let secrets: Vec<_> = secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect();
        Verifier.verify(&self.spec, &secrets, headers, body, at(now))
    }
}

/// Deliveries as their senders publish them.
fn published() -> Vec<Case> {
    let slack_body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
        channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
        response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
        trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    vec![
        // From the specification of Standard Webhooks.
        Case {
            spec: spec(Scheme::Standard),
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            headers: headers(&[
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            ]),
            body: br#"{"test": 2432232314}"#.to_vec(),
            now: 1_614_265_330,
            id: Some("msg_p5jXN8AQM9LWM0D4loKWxJek"),
        },
        // From GitHub's page on validating deliveries.
        Case {
            spec: spec(Scheme::Github),
            secret: "It's a Secret to Everybody",
            headers: headers(&[
                (
                    "x-hub-signature-256",
                    "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
                ),
                ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
            ]),
            body: b"Hello, World!".to_vec(),
            now: 0,
            id: Some("72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        },
        // From Slack's page on verifying requests.
        Case {
            spec: spec(Scheme::Slack),
            secret: "8f742231b10e8888abcd99yyyzzz85a5",
            headers: headers(&[
                ("x-slack-request-timestamp", "1531420618"),
                ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
            ]),
            body: slack_body.as_bytes().to_vec(),
            now: 1_531_420_618,
            id: None,
        },
    ]
}

/// Deliveries that are signed here.
fn signed() -> Vec<Case> {
    let stripe_body = br#"{"id":"evt_1","type":"charge.succeeded"}"#.to_vec();
    let stripe = encoded(&hmac::sign(b"whsec_stripe_secret", &[b"1600000000.", &stripe_body]));
    let generic = SignatureSpec {
        header: Some("X-Acme-Signature".into()),
        prefix: Some("h1=".into()),
        encoding: Some("base64".into()),
        template: Some("{id}:{timestamp}:{body}".into()),
        timestamp_header: Some("X-Acme-Time".into()),
        id_header: Some("X-Acme-Id".into()),
        ..spec(Scheme::HmacSha256)
    };
    let acme = format!("h1={}", STANDARD.encode(hmac::sign(b"acme-secret", &[b"d-1:1600000000:", b"hello"])));
    vec![
        Case {
            spec: spec(Scheme::Stripe),
            secret: "whsec_stripe_secret",
            headers: headers(&[(
                "stripe-signature",
                &format!("t=1600000000,v1={},v1={stripe},v0=00", "ab".repeat(32)),
            )]),
            body: stripe_body,
            now: 1_600_000_000,
            id: Some("evt_1"),
        },
        Case {
            spec: generic,
            secret: "acme-secret",
            headers: headers(&[
                ("x-acme-signature", &acme),
                ("x-acme-time", "1600000000"),
                ("x-acme-id", "d-1"),
            ]),
            body: b"hello".to_vec(),
            now: 1_600_000_000,
            id: Some("d-1"),
        },
    ]
}

fn cases() -> Vec<Case> {
    published().into_iter().chain(signed()).collect()
}

#[test]
fn good_deliveries_are_taken() {
    for case in cases() {
        let verified = case.verify(&[case.secret], &case.headers, &case.body, case.now).unwrap();
        match case.id {
            Some(id) => assert_eq!(verified.delivery_id.as_deref(), Some(id), "{:?}", case.spec.scheme),
            None => {
                assert!(verified.delivery_id.is_some_and(|id| id.starts_with("sha256:") && id.len() == 71));
            }
        }
        // The secret before the current one is good too.
        assert!(case.verify(&["another secret", case.secret], &case.headers, &case.body, case.now).is_ok());
    }
    // A sender that rotates signs with both of its secrets.
    let mut case = cases().remove(0);
    case.headers[2].1.insert_str(0, "v1a,AAAA v1,AAAA v1,!! ");
    assert!(case.verify(&[case.secret], &case.headers, &case.body, case.now).is_ok());
    case.headers.iter_mut().for_each(|header| header.0 = header.0.replace("webhook-", "svix-"));
    assert!(case.verify(&[case.secret], &case.headers, &case.body, case.now).is_ok());
}

#[test]
fn every_changed_byte_is_refused() {
    let mut tried = 0;
    for case in cases() {
        let scheme = case.spec.scheme;
        let refused = |secrets: &[&str], headers: &Headers, body: &[u8], now: i64, what: &str| {
            assert!(case.verify(secrets, headers, body, now).is_err(), "{scheme:?}: {what}");
        };
        for index in 0..case.body.len() {
            let mut body = case.body.clone();
            body[index] ^= 1;
            refused(&[case.secret], &case.headers, &body, case.now, "a byte of the body");
            tried += 1;
        }
        refused(&[case.secret], &case.headers, &[&case.body[..], b" "].concat(), case.now, "a longer body");
        refused(&[case.secret], &case.headers, &case.body[1..], case.now, "a shorter body");
        refused(&[], &case.headers, &case.body, case.now, "no secret");
        refused(&["another secret"], &case.headers, &case.body, case.now, "another secret");
        refused(&[""], &case.headers, &case.body, case.now, "an empty secret");
        for index in 0..case.headers.len() {
            if case.headers[index].0 == "x-github-delivery" {
                continue;
            }
            let mut without = case.headers.clone();
            without.remove(index);
            refused(&[case.secret], &without, &case.body, case.now, "a header is missing");
            let mut twice = case.headers.clone();
            twice.push(case.headers[index].clone());
            refused(&[case.secret], &twice, &case.body, case.now, "a header is there twice");
            let mut empty = case.headers.clone();
            empty[index].1.clear();
            refused(&[case.secret], &empty, &case.body, case.now, "a header is empty");
            let mut garbled = case.headers.clone();
            let last = garbled[index].1.trim_end_matches('=').len() - 1;
            let byte = garbled[index].1.as_bytes()[last - 1];
            garbled[index].1.replace_range(last - 1..last, if byte == b'a' { "b" } else { "a" });
            if scheme != Scheme::Stripe {
                refused(&[case.secret], &garbled, &case.body, case.now, "a header is changed");
            }
            tried += 4;
        }
        if scheme != Scheme::Github {
            for away in [-301, 301, 86_400, -1_000_000_000] {
                refused(&[case.secret], &case.headers, &case.body, case.now + away, "out of the window");
            }
            for near in [-300, -1, 1, 300] {
                assert!(case.verify(&[case.secret], &case.headers, &case.body, case.now + near).is_ok());
            }
        }
    }
    println!("{tried} changed deliveries refused");
}

#[test]
fn what_says_nothing_is_refused() {
    for scheme in [Scheme::Standard, Scheme::Github, Scheme::Stripe, Scheme::Slack, Scheme::HmacSha256] {
        let secrets = [b"secret-secret".to_vec()];
        assert!(Verifier.verify(&spec(scheme), &secrets, &[], b"", at(0)).is_err(), "{scheme:?}");
    }
    let refused = |scheme, list: &[(&str, &str)]| {
        let secrets = [b"secret-secret".to_vec()];
        assert!(Verifier.verify(&spec(scheme), &secrets, &headers(list), b"x", at(0)).is_err(), "{list:?}");
    };
    refused(Scheme::Github, &[("x-hub-signature-256", "sha1=00")]);
    refused(Scheme::Github, &[("x-hub-signature-256", "sha256=")]);
    refused(Scheme::Github, &[("x-hub-signature-256", "sha256=zz")]);
    refused(Scheme::Stripe, &[("stripe-signature", "t=0,v1=")]);
    refused(Scheme::Stripe, &[("stripe-signature", "t=0,t=1,v1=00")]);
    refused(Scheme::Stripe, &[("stripe-signature", "v1=00")]);
    refused(Scheme::Slack, &[("x-slack-request-timestamp", "+0"), ("x-slack-signature", "v0=00")]);
    refused(Scheme::Slack, &[("x-slack-request-timestamp", "now"), ("x-slack-signature", "v0=00")]);
    assert_eq!(Verifier.verify(&spec(Scheme::None), &[], &[], b"x", at(0)), Ok(Verified::default()));
}

#[test]
fn slack_hears_its_challenge_and_names_its_events() {
    let secret = b"slack-secret".to_vec();
    let verify = |body: &str| {
        let code = encoded(&hmac::sign(&secret, &[b"v0:100:", body.as_bytes()]));
        let list =
            headers(&[("x-slack-request-timestamp", "100"), ("x-slack-signature", &format!("v0={code}"))]);
        Verifier
            .verify(&spec(Scheme::Slack), std::slice::from_ref(&secret), &list, body.as_bytes(), at(100))
            .unwrap()
    };
    let asked = verify(r#"{"type":"url_verification","challenge":"3eZbrw1aB"}"#);
    assert_eq!(asked.challenge.as_deref(), Some("3eZbrw1aB"));
    let told = verify(r#"{"type":"event_callback","event_id":"Ev1","challenge":"no"}"#);
    assert_eq!((told.delivery_id.as_deref(), told.challenge), (Some("Ev1"), None));
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let fields = |spec: &SignatureSpec, secret, has| {
        signature_faults(spec, secret, has).into_iter().map(|fault| fault.0).collect::<Vec<_>>()
    };
    assert_eq!(fields(&spec(Scheme::None), None, false), [""; 0]);
    assert_eq!(fields(&spec(Scheme::None), Some("x"), false), ["secret"]);
    assert_eq!(fields(&spec(Scheme::Github), None, false), ["secret"]);
    assert_eq!(fields(&spec(Scheme::Github), None, true), [""; 0]);
    assert_eq!(fields(&spec(Scheme::Github), Some("short"), true), ["secret"]);
    assert_eq!(fields(&spec(Scheme::Standard), Some("whsec_???????"), false), ["secret"]);
    for case in cases() {
        assert_eq!(fields(&case.spec, Some(case.secret), false), [""; 0]);
    }
    let odd = SignatureSpec {
        header: Some("a b".into()),
        encoding: Some("hexa".into()),
        template: Some("{time}".into()),
        id_header: Some(String::new()),
        tolerance_s: Some(0),
        ..spec(Scheme::HmacSha256)
    };
    let expected = ["header", "id_header", "encoding", "template", "tolerance_s"];
    assert_eq!(fields(&odd, Some("long enough"), false), expected);
    let needs = SignatureSpec { template: Some("{id}.{body}".into()), ..spec(Scheme::HmacSha256) };
    assert_eq!(fields(&needs, Some("long enough"), false), ["id_header"]);
    let foreign = SignatureSpec { prefix: Some("x".into()), ..spec(Scheme::Slack) };
    assert_eq!(fields(&foreign, Some("long enough"), false), ["prefix"]);
}

struct Counting(std::sync::atomic::AtomicU8);

impl Ids for Counting {
    fn job(&self, _: Timestamp) -> JobId {
        JobId(uuid::Uuid::nil())
    }

    fn nonce(&self) -> u64 {
        0
    }

    fn bytes(&self) -> [u8; 16] {
        [self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed); 16]
    }
}

fn vault(keys: &[[u8; KEY_BYTES]]) -> SecretVault {
    SecretVault::new(keys, Arc::new(Counting(1.into()))).unwrap()
}

#[test]
fn a_secret_opens_where_it_was_sealed_and_nowhere_else() {
    let of = |tenant, rule, slot| SecretOf::Rule {
        tenant: TenantId(tenant),
        rule: RuleId(uuid::Uuid::from_u128(rule)),
        slot,
    };
    let (old, new) = ([1; KEY_BYTES], [2; KEY_BYTES]);
    let before = vault(&[old]);
    let sealed = before.seal(of(1, 1, 0), b"whsec_canary").unwrap();
    assert!(!sealed.windows(6).any(|window| window == b"canary"));
    assert_eq!(before.open(of(1, 1, 0), &sealed).unwrap(), b"whsec_canary");
    for other in [of(2, 1, 0), of(1, 2, 0), of(1, 1, 1)] {
        assert!(before.open(other, &sealed).is_err(), "{other:?}");
    }
    for index in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[index] ^= 1;
        assert!(before.open(of(1, 1, 0), &changed).is_err(), "byte {index}");
        assert!(before.open(of(1, 1, 0), &sealed[..index]).is_err());
    }
    assert_ne!(before.seal(of(1, 1, 0), b"whsec_canary").unwrap(), sealed, "a nonce is used once");
    // A new key in front: the old one opens what it sealed, until it goes.
    let both = vault(&[new, old]);
    assert_eq!(both.open(of(1, 1, 0), &sealed).unwrap(), b"whsec_canary");
    assert!(both.is_stale(&sealed) && !before.is_stale(&sealed) && !vault(&[new]).is_stale(&sealed));
    let resealed = both.seal(of(1, 1, 0), b"whsec_canary").unwrap();
    assert!(!both.is_stale(&resealed));
    assert_eq!(vault(&[new]).open(of(1, 1, 0), &resealed).unwrap(), b"whsec_canary");
    assert!(vault(&[new]).open(of(1, 1, 0), &sealed).unwrap_err().contains("TASKFLOW_SECRETS_KEY"));
    assert!(!format!("{both:?}").contains('['));
}

#[test]
fn a_key_file_is_made_once_and_is_its_owners() {
    use std::os::unix::fs::PermissionsExt;

    let name = format!("taskflow-key-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    _ = std::fs::remove_file(&path);
    let ids = Counting(7.into());
    let (key, made) = key_of_file(&path, &ids).unwrap();
    assert!(made && std::fs::metadata(&path).unwrap().permissions().mode() & 0o777 == 0o600);
    assert_eq!(key_of_file(&path, &ids).unwrap(), (key, false));
    std::fs::write(&path, "short").unwrap();
    assert!(matches!(key_of_file(&path, &ids), Err(VaultError::Key)));
    std::fs::remove_file(&path).unwrap();
    assert!(key_from_base64(&STANDARD.encode([0; 31])).is_err() && key_from_base64("?").is_err());
}

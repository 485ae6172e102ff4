//! How deliveries are called.

use super::*;

const SECRET: &[u8] = b"long enough";

#[test]
fn a_delivery_has_one_name_that_can_be_kept() {
    let named = |spec: &SignatureSpec, list: &[(&str, &str)]| {
        let verified = Verifier.verify(spec, &[SECRET.to_vec()], &headers(list), b"x", at(0));
        verified.map(|verified| verified.delivery_id)
    };
    let open = spec(Scheme::None);
    assert_eq!(named(&open, &[("webhook-id", "w1")]), Ok(Some("w1".to_owned())));
    assert_eq!(named(&open, &[]), Ok(None));
    let (long, longer) = ("w".repeat(255), "w".repeat(256));
    assert_eq!(named(&open, &[("webhook-id", long.as_str())]), Ok(Some(long.clone())));
    let wants = SignatureSpec { id_header: Some("X-Id".into()), ..open.clone() };
    for (spec, list) in [
        (&open, vec![("webhook-id", longer.as_str())]),
        (&open, vec![("webhook-id", "é")]),
        (&open, vec![("webhook-id", "w1"), ("webhook-id", "w2")]),
        (&wants, vec![("x-id", "é")]),
        (&wants, vec![]),
    ] {
        let name = spec.id_header.clone().unwrap_or_else(|| "webhook-id".to_owned());
        let refused = named(spec, &list);
        let Err(DeliveryRefused::Id { place, .. }) = refused else { panic!("{list:?}: {refused:?}") };
        assert_eq!(place, NamedIn::Header(name), "{list:?}");
    }
}

#[test]
fn what_nobody_signed_names_no_delivery() {
    let named = |spec: &SignatureSpec, signed: &[&[u8]], more: (&str, &str)| {
        let code = encoded(&hmac::sign(SECRET, signed));
        let list = headers(&[("x-signature", code.as_str()), more]);
        Verifier.verify(spec, &[SECRET.to_vec()], &list, b"x", at(0)).unwrap().delivery_id.unwrap()
    };
    let plain = spec(Scheme::HmacSha256);
    let stamped = SignatureSpec { timestamp_header: Some("X-Time".into()), ..plain.clone() };
    let first = named(&plain, &[b"x"], ("webhook-id", "w0"));
    assert!(first.starts_with("sha256:"));
    assert_eq!(named(&plain, &[b"x"], ("webhook-id", "w1")), first);
    assert_eq!(named(&stamped, &[b"x"], ("x-time", "1")), first);
    assert_eq!(named(&stamped, &[b"x"], ("x-time", "2")), first);
    // A time that is signed makes another delivery of the same body.
    let timed = SignatureSpec { template: Some("{timestamp}.{body}".into()), ..plain };
    let second = named(&timed, &[b"1.x"], ("x-timestamp", "1"));
    assert_ne!(second, named(&timed, &[b"2.x"], ("x-timestamp", "2")));
    assert_eq!(second, named(&timed, &[b"1.x"], ("x-timestamp", "1")));
}

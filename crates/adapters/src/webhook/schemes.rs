//! The schemes of those who send many webhooks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use taskflow_application::ports::Verified;

use super::delivery::{Delivery, hex};

/// The headers that name a delivery of Standard Webhooks.
pub(super) const STANDARD_ID: [&str; 2] = ["webhook-id", "svix-id"];
/// The field that names a delivery of Stripe's.
pub(super) const STRIPE_ID: &str = "id";
/// The field that names a delivery of Slack's.
pub(super) const SLACK_ID: &str = "event_id";

/// Standard Webhooks: `v1,BASE64` over `ID.TIME.BODY`, several with spaces between.
pub(super) fn standard(delivery: &Delivery<'_>) -> Result<Verified, String> {
    let id = delivery.header_of(&STANDARD_ID)?;
    let time = delivery.header_of(&["webhook-timestamp", "svix-timestamp"])?;
    let given = delivery.header_of(&["webhook-signature", "svix-signature"])?;
    delivery.check_time(time)?;
    let given = given.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
    let given: Vec<_> = given.collect();
    let secrets: Vec<_> = delivery.secrets.iter().filter_map(|secret| standard_key(secret)).collect();
    let parts = [id.as_bytes(), b".", time.as_bytes(), b".", delivery.body];
    Delivery::check_with(&secrets, &parts, &given)?;
    Ok(Verified { delivery_id: Some(id.to_owned()), challenge: None })
}

/// The key that a secret of Standard Webhooks stands for: Base64, and before it
/// `whsec_` or nothing, which the libraries of the standard read alike.
pub(super) fn standard_key(secret: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(secret.strip_prefix(b"whsec_").unwrap_or(secret)).ok()
}

/// GitHub: `sha256=HEX` over the body. Neither a time nor the id of the delivery,
/// which has a header of its own, is signed.
pub(super) fn github(delivery: &Delivery<'_>) -> Result<Verified, String> {
    let given = delivery.header("x-hub-signature-256")?;
    let given: Vec<_> = given.strip_prefix("sha256=").and_then(hex).into_iter().collect();
    delivery.check(&[delivery.body], &given)?;
    Ok(Verified::default())
}

/// Stripe: `t=TIME,v1=HEX` over `TIME.BODY`; `v1` may be there more than once.
pub(super) fn stripe(delivery: &Delivery<'_>) -> Result<Verified, String> {
    let header = delivery.header("stripe-signature")?;
    let pairs = || header.split(',').filter_map(|pair| pair.trim().split_once('='));
    let mut times = pairs().filter(|(key, _)| *key == "t").map(|(_, time)| time);
    let (Some(time), None) = (times.next(), times.next()) else {
        return Err("the signature has no time, or more than one".to_owned());
    };
    delivery.check_time(time)?;
    let given: Vec<_> = pairs().filter(|(key, _)| *key == "v1").filter_map(|(_, code)| hex(code)).collect();
    delivery.check(&[time.as_bytes(), b".", delivery.body], &given)?;
    Ok(Verified { delivery_id: delivery.text(STRIPE_ID), challenge: None })
}

/// Slack: `v0=HEX` over `v0:TIME:BODY`. An address is proved by handing back a challenge.
pub(super) fn slack(delivery: &Delivery<'_>) -> Result<Verified, String> {
    let time = delivery.header("x-slack-request-timestamp")?;
    let given = delivery.header("x-slack-signature")?;
    delivery.check_time(time)?;
    let given: Vec<_> = given.strip_prefix("v0=").and_then(hex).into_iter().collect();
    delivery.check(&[b"v0:", time.as_bytes(), b":", delivery.body], &given)?;
    let asks = delivery.text("type").as_deref() == Some("url_verification");
    let challenge = if asks { delivery.text("challenge") } else { None };
    Ok(Verified { delivery_id: delivery.text(SLACK_ID), challenge })
}

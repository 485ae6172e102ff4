//! Any HMAC with SHA-256: where the signature stands, how it is written, and
//! over what.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use taskflow_application::ports::Verified;
use taskflow_domain::rule::{Scheme, SignatureSpec};

use super::delivery::{Delivery, hex};
use super::schemes;

const HEADER: &str = "x-signature";
const TIME_HEADER: &str = "x-timestamp";
const TEMPLATE: &str = "{body}";
/// No setting is longer.
const LONGEST: usize = 200;
/// The longest window, in seconds: an hour.
const LONGEST_TOLERANCE_S: u64 = 3_600;
/// The shortest secret that is taken, in bytes.
const SHORTEST_SECRET: usize = 8;
/// How long the key of Standard Webhooks is, in bytes.
const STANDARD_KEY: std::ops::RangeInclusive<usize> = 24..=64;

pub(super) fn verify(delivery: &Delivery<'_>) -> Result<Verified, String> {
    let spec = delivery.spec;
    let header = spec.header.as_deref().unwrap_or(HEADER).to_ascii_lowercase();
    let given = delivery.header(&header)?;
    let given = given.strip_prefix(spec.prefix.as_deref().unwrap_or_default());
    let given = given.and_then(|code| match spec.encoding.as_deref() {
        Some("base64") => STANDARD.decode(code).ok(),
        _ => hex(code),
    });
    let given: Vec<_> = given.into_iter().collect();
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in template(spec.template.as_deref().unwrap_or(TEMPLATE))? {
        parts.push(match part {
            Part::Text(text) => text.as_bytes(),
            Part::Body => delivery.body,
            Part::Id => {
                let name = spec.id_header.as_deref().ok_or("the template needs an id_header")?;
                delivery.header(&name.to_ascii_lowercase())?.as_bytes()
            }
            Part::Time => {
                let time = delivery.header(&time_header(spec))?;
                delivery.check_time(time)?;
                time.as_bytes()
            }
        });
    }
    delivery.check(&parts, &given)?;
    Ok(Verified::default())
}

/// The header of the time, in lower case.
fn time_header(spec: &SignatureSpec) -> String {
    spec.timestamp_header.as_deref().unwrap_or(TIME_HEADER).to_ascii_lowercase()
}

/// The header of the time, if the time is signed.
pub(super) fn signed_time(spec: &SignatureSpec) -> Option<String> {
    let parts = template(spec.template.as_deref().unwrap_or(TEMPLATE)).unwrap_or_default();
    let signed = spec.scheme == Scheme::HmacSha256 && parts.iter().any(|part| matches!(part, Part::Time));
    signed.then(|| time_header(spec))
}

enum Part<'a> {
    Text(&'a str),
    Body,
    Id,
    Time,
}

fn template(text: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').ok_or("a '{' of the template has no '}'")?;
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        parts.push(match name {
            "body" => Part::Body,
            "id" => Part::Id,
            "timestamp" => Part::Time,
            _ => return Err("the template may hold {timestamp}, {id} and {body}".to_owned()),
        });
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    if parts.iter().filter(|part| matches!(part, Part::Body)).count() != 1 {
        return Err("the template must hold {body} once".to_owned());
    }
    Ok(parts)
}

/// What is wrong with a rule's signature settings and the secret that comes with
/// them: fields and details. `has_secret` says that the rule has one already.
pub fn faults(spec: &SignatureSpec, secret: Option<&str>, has_secret: bool) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    let generic = [
        ("header", spec.header.as_deref()),
        ("prefix", spec.prefix.as_deref()),
        ("encoding", spec.encoding.as_deref()),
        ("template", spec.template.as_deref()),
        ("timestamp_header", spec.timestamp_header.as_deref()),
    ];
    for (field, value) in generic.iter().filter_map(|(field, value)| value.map(|value| (*field, value))) {
        if spec.scheme != Scheme::HmacSha256 {
            faults.push((field, "belongs to the scheme hmac-sha256".to_owned()));
        } else if value.len() > LONGEST || !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            faults.push((field, format!("must be at most {LONGEST} visible ASCII characters")));
        }
    }
    for (field, value) in [
        ("header", &spec.header),
        ("timestamp_header", &spec.timestamp_header),
        ("id_header", &spec.id_header),
    ] {
        let token = |name: &str| {
            !name.is_empty()
                && name.len() <= LONGEST
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if value.as_deref().is_some_and(|name| !token(name)) {
            faults.push((field, "must be the name of a header".to_owned()));
        }
    }
    if spec.encoding.as_deref().is_some_and(|encoding| !["hex", "base64"].contains(&encoding)) {
        faults.push(("encoding", "must be hex or base64".to_owned()));
    }
    if let Some(text) = &spec.template {
        match template(text) {
            Err(detail) => faults.push(("template", detail)),
            Ok(parts) if spec.id_header.is_none() && parts.iter().any(|part| matches!(part, Part::Id)) => {
                faults.push(("id_header", "is needed by the template".to_owned()));
            }
            Ok(_) => {}
        }
    }
    if spec.tolerance_s.is_some_and(|tolerance| !(1..=LONGEST_TOLERANCE_S).contains(&tolerance)) {
        faults.push(("tolerance_s", format!("must be from 1 to {LONGEST_TOLERANCE_S}")));
    }
    if let Some(detail) = secret_fault(spec.scheme, secret, has_secret) {
        faults.push(("secret", detail));
    }
    faults
}

fn secret_fault(scheme: Scheme, secret: Option<&str>, has_secret: bool) -> Option<String> {
    match (scheme, secret) {
        (Scheme::None, Some(_)) => Some("belongs to a scheme, and there is none".to_owned()),
        (Scheme::None, None) => None,
        (_, None) => (!has_secret).then(|| "is required by the scheme".to_owned()),
        (_, Some(secret)) if !(SHORTEST_SECRET..=512).contains(&secret.len()) => {
            Some(format!("must have {SHORTEST_SECRET} to 512 bytes"))
        }
        (Scheme::Standard, Some(secret)) => {
            let bytes = schemes::standard_key(secret.as_bytes()).map(|key| key.len());
            (!bytes.is_some_and(|bytes| STANDARD_KEY.contains(&bytes))).then(|| {
                let (least, most) = STANDARD_KEY.into_inner();
                format!("must be {least} to {most} bytes in Base64, with whsec_ before them or without")
            })
        }
        _ => None,
    }
}

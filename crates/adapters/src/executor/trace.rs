//! W3C trace context of a call: a child of the submit's.

use taskflow_domain::JobSpec;
use uuid::Uuid;

/// The `traceparent` of a call. It stays in the trace of the submit; a job without
/// one is in the trace of its correlation id, so that everything from one cause
/// is in one trace.
pub(super) fn child(spec: &JobSpec, random: [u8; 16]) -> String {
    let (trace, flags) = match spec.traceparent.as_deref().and_then(parse) {
        Some((trace, flags)) => (trace.to_owned(), flags.to_owned()),
        None => (own_trace(spec.correlation_id.0), "01".to_owned()),
    };
    let span = random.iter().take(8).fold(0u64, |span, byte| (span << 8) | u64::from(*byte)).max(1);
    format!("00-{trace}-{span:016x}-{flags}")
}

fn own_trace(id: Uuid) -> String {
    if id.is_nil() { format!("{:032x}", 1) } else { id.simple().to_string() }
}

/// Trace id and flags of a `traceparent`, if it is one.
fn parse(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |part: &str| part.bytes().all(|b| b == b'0');
    let good = hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && hex(trace, 32)
        && !zero(trace)
        && hex(span, 16)
        && !zero(span)
        && hex(flags, 2);
    good.then_some((trace, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_traceparent_is_one() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(parse(good), Some(("0af7651916cd43dd8448eb211c80319c", "01")));
        assert!(parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-later").is_some());
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1\r",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}

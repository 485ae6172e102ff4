//! The vectors of the guard.

use ::url::Url;
use axum::routing::any;

use super::*;
use crate::executor::resolve::admit;

/// Hosts that must be refused, as they may stand in a URL.
const REFUSED: [&str; 111] = [
    // Loopback, in every notation that a URL knows.
    "127.0.0.1",
    "127.0.0.2",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "127.0.0.1.",
    "0x7F.1",
    "127.0.00.1",
    "%31%32%37.0.0.1",
    "127%2e0.0.1",
    "１２７.0.0.1",
    "127。0。0。1",
    "①②⑦.⓪.⓪.①",
    "0177.1",
    "0x7f.0.0x1",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::FFFF:7F00:0001]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    // This network and the unspecified address.
    "0.0.0.0",
    "0",
    "0x0",
    "00",
    "0.1.2.3",
    "0.255.255.255",
    "[::]",
    "[0::0]",
    "[::ffff:0.0.0.0]",
    "[::0.0.0.0]",
    // Link-local and the metadata services.
    "169.254.169.254",
    "169.254.0.1",
    "169.254.255.255",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "0xA9.0xFE.0xA9.0xFE",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[fe80::1]",
    "[fe80::a9fe:a9fe]",
    "[febf::1]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "192.0.0.192",
    // Private.
    "10.0.0.1",
    "10.255.255.255",
    "167772161",
    "012.0.0.1",
    "0xa.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.1.254",
    "3232235521",
    "[::ffff:10.0.0.1]",
    "[::ffff:192.168.0.1]",
    "[fc00::1]",
    "[fdff:ffff::1]",
    "[fec0::1]",
    "[feff::1]",
    // Shared by carriers, protocol assignments, benchmarks, documentation.
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.1",
    "192.0.0.8",
    "198.18.0.1",
    "198.19.255.255",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.7",
    "192.88.99.1",
    "[2001:db8::1]",
    "[3fff::1]",
    "[2001:2::1]",
    "[100::1]",
    // Multicast, reserved, broadcast.
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "4294967295",
    "[ff02::1]",
    "[ff0e::1]",
    // Wrappings.
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b::8.8.8.8]",
    "[64:ff9b:1::10.0.0.1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2002:808:808::]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    "[2001::1]",
    "[2001:10::1]",
    "[2001:20::1]",
    "[2620:0:1000::5efe:10.0.0.1]",
    "[2620:0:1000:0:200:5efe:a00:1]",
    // Outside the global unicast range.
    "[5f00::1]",
    "[4000::1]",
    "[8000::1]",
];

/// Hosts that must not be refused: public neighbours of what is.
const ADMITTED: [&str; 32] = [
    "1.1.1.1",
    "8.8.8.8",
    "0x08080808",
    "134744072",
    "010.010.010.010",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "203.0.112.255",
    "223.255.255.255",
    "[::ffff:8.8.8.8]",
    "[2606:4700:4700::1111]",
    "[2001:4860:4860::8888]",
    "[2001:200::1]",
    "[2003::1]",
    "[3ffe::1]",
    "[2a00::5efe:8.8.8.8]",
];

fn url(host: &str) -> Url {
    Url::parse(&format!("http://{host}:8080/")).unwrap_or_else(|fault| panic!("{host}: {fault}"))
}

#[test]
fn every_forbidden_address_is_refused_in_every_notation() {
    let policy = EgressPolicy::default();
    for host in REFUSED {
        let url = url(host);
        assert!(!matches!(url.host(), Some(::url::Host::Domain(_))), "{host} is a name");
        assert!(policy.check_url(&url).is_err(), "{host} -> {url}");
    }
    for host in ADMITTED {
        let url = url(host);
        assert!(!matches!(url.host(), Some(::url::Host::Domain(_))), "{host} is a name");
        assert_eq!(policy.check_url(&url), Ok(()), "{host} -> {url}");
    }
    assert!(REFUSED.len() + ADMITTED.len() >= 120);
}

#[test]
fn the_allow_list_opens_what_it_names_and_no_more() {
    let policy = EgressPolicy::parse("10.1.0.0/16, 192.168.7.7 64:ff9b::/96\nfd00::/8").unwrap();
    for host in [
        "10.1.2.3",
        "192.168.7.7",
        "[fd12::1]",
        "[::ffff:10.1.2.3]",
        "[64:ff9b::8.8.8.8]",
        "[64:ff9b::10.1.2.3]",
    ] {
        assert_eq!(policy.check_url(&url(host)), Ok(()), "{host}");
    }
    for host in [
        "10.2.0.1",
        "192.168.7.8",
        "127.0.0.1",
        "[fc00::1]",
        "[::ffff:10.2.0.1]",
        "[64:ff9b::10.2.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:a01:203::]",
    ] {
        assert!(policy.check_url(&url(host)).is_err(), "{host}");
    }
    assert_eq!(EgressPolicy::default().with_loopback().check_url(&url("127.9.9.9")), Ok(()));
    assert_eq!(EgressPolicy::default().with_loopback().check_url(&url("[::1]")), Ok(()));
    assert!(EgressPolicy::parse("").is_ok());
    for bad in ["10.0.0.0/33", "example.com", "10.0.0/8", "all"] {
        let error = EgressPolicy::parse(bad).unwrap_err().to_string();
        assert!(error.contains(bad), "{error}");
    }
}

#[test]
fn of_the_addresses_behind_a_name_only_the_public_ones_are_used() {
    let policy = EgressPolicy::default();
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let mixed = vec![at("127.0.0.1:0"), at("8.8.8.8:0"), at("[fe80::1]:0"), at("[::ffff:10.0.0.1]:0")];
    assert_eq!(admit(&policy, mixed), Ok(Some(vec![at("8.8.8.8:0")])));
    assert!(admit(&policy, vec![at("127.0.0.1:0"), at("169.254.169.254:0")]).is_err());
    assert_eq!(admit(&policy, vec![]), Ok(None));
}

async fn called() {
    panic!("it was called");
}

#[tokio::test]
async fn a_forbidden_target_is_never_called() {
    let address = serve(Router::new().fallback(any(called))).await;
    let port = address.port();
    let executor = executor(EgressPolicy::default());
    for host in ["127.0.0.1", "2130706433", "localhost", "LOCALHOST", "[::ffff:127.0.0.1]"] {
        let target = Target::Http(http(format!("http://{host}:{port}/")));
        let verdict = execute(&executor, job(Some(target))).await;
        let (kind, message, permanent) = failure(&verdict);
        assert_eq!((kind, permanent), ("egress_denied", true), "{host}: {message}");
        assert!(message.contains("loopback") && message.contains("TASKFLOW_EGRESS_ALLOW"), "{message}");
        assert!(message.contains("127.0.0.0/8") || message.contains("::1/128"), "{message}");
    }
}

#[tokio::test]
async fn a_bad_url_ends_the_job() {
    let executor = executor(EgressPolicy::default());
    for url in ["ftp://example.com/", "http://u:p@example.com/", "nonsense"] {
        let verdict = execute(&executor, job(Some(Target::Http(http(url))))).await;
        assert_eq!((failure(&verdict).0, failure(&verdict).2), ("invalid_target", true));
    }
}

#[tokio::test]
async fn a_name_is_called_where_it_may_be() {
    let address = serve(Router::new().fallback(any(async || "hello"))).await;
    let verdict = call(http(format!("http://localhost:{}/", address.port()))).await;
    assert_eq!(result(&verdict)["body"], "hello");
}

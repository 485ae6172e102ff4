//! What a submit may name as a target.

use crate::executor::{UrlFault, validate_url};

#[test]
fn good_urls() {
    for url in [
        "http://example.com",
        "https://example.com:8443/a/b?c=d#e",
        "http://127.0.0.1:9000/send",
        "http://[::1]:9000/",
        "HTTPS://EXAMPLE.COM/",
        "https://münchen.example/straße",
    ] {
        assert!(validate_url(url).is_ok(), "{url}");
    }
}

#[test]
fn bad_urls_say_why() {
    let fault = |url: &str| validate_url(url).unwrap_err();
    for syntax in [
        "",
        "example.com",
        "/path",
        "http://",
        "http://[::1",
        "http://a:99999/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "//x/",
    ] {
        assert!(matches!(fault(syntax), UrlFault::Syntax(_)), "{syntax}");
    }
    for scheme in [
        "ftp://a/",
        "file:///etc/passwd",
        "gopher://a/",
        "javascript:alert(1)",
        "data:,x",
        "unix:/run/x",
        "ws://a/",
    ] {
        assert_eq!(fault(scheme), UrlFault::Scheme, "{scheme}");
    }
    for credentials in ["http://u@a/", "http://u:p@a/", "http://:p@a/", "https://example.com@127.0.0.1/"] {
        assert_eq!(fault(credentials), UrlFault::Credentials, "{credentials}");
    }
    for blank in [
        " http://a/",
        "http://a/ ",
        "http://a/\n",
        "ht\ntp://a/",
        "http://a/b c",
        "http://a/\0",
        "http://a/\u{7f}",
    ] {
        assert_eq!(fault(blank), UrlFault::Blank, "{blank:?}");
    }
    assert_eq!(fault("http://a:0/"), UrlFault::Port);
    assert_eq!(fault(&format!("http://a/{}", "x".repeat(5_000))), UrlFault::TooLong);
}

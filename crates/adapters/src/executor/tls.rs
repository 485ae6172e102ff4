//! The HTTP client, and the TLS provider of the process.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, redirect};

use super::egress::EgressPolicy;
use super::resolve::GuardedResolver;

/// How long resolving, connecting and the TLS handshake may take together.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next call.
const KEPT: Duration = Duration::from_secs(30);
/// How many of them for each host.
const KEPT_PER_HOST: usize = 64;

/// Makes ring the TLS provider of the process. Repeating it does nothing.
pub fn install_crypto() {
    // It fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The client for HTTP targets: no proxy, no redirects, no time limit of its own,
/// for the attempt has one.
pub(super) fn client(egress: &EgressPolicy) -> Result<Client, reqwest::Error> {
    install_crypto();
    builder(egress).build().or_else(|error| {
        tracing::warn!(
            error = super::failure::deepest(&error),
            "no certificate authorities were found; calls to https targets will fail"
        );
        builder(egress).tls_certs_only([]).build()
    })
}

fn builder(egress: &EgressPolicy) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("taskflow/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .dns_resolver(GuardedResolver(Arc::new(egress.clone())))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(KEPT)
        .pool_max_idle_per_host(KEPT_PER_HOST)
        .tcp_nodelay(true)
}

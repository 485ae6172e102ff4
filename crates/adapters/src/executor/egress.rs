//! Where HTTP targets may go: the guard against requests that a tenant could not
//! send from outside.
//!
//! Every address that a connection would be made to is checked: literal ones
//! before the request is sent, those behind a name when the name is resolved, in
//! the same step that hands them to the connector. There is no second resolution
//! in which a name could mean something else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ::url::{Host, Url};
use ipnet::IpNet;

use super::nets;

/// Which of the forbidden addresses HTTP targets may reach all the same.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    allow: Vec<IpNet>,
}

/// An entry of the allow list is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a network, as in 10.1.0.0/16, nor an address")]
pub struct EgressError(String);

/// An address that HTTP targets may not reach. It names the range and not the
/// address, which may be something that the caller could not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the target's address is in {range} ({what}); an operator can allow it with the setting TASKFLOW_EGRESS_ALLOW"
)]
pub struct Denied {
    range: IpNet,
    what: &'static str,
}

impl EgressPolicy {
    /// Nothing but public addresses and `allow`.
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Reads networks and addresses, separated by commas or blanks.
    pub fn parse(text: &str) -> Result<Self, EgressError> {
        let parts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
        let net = |part| {
            IpNet::from_str(part)
                .or_else(|_| IpAddr::from_str(part).map(IpNet::from))
                .map_err(|_| EgressError(part.to_owned()))
        };
        Ok(Self { allow: parts.map(net).collect::<Result<_, _>>()? })
    }

    /// The same, and this machine itself.
    #[must_use]
    pub fn with_loopback(mut self) -> Self {
        self.allow.push(IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8));
        self.allow.push(IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128));
        self
    }

    /// Whether a target may reach `address`.
    ///
    /// An IPv4-mapped address is the IPv4 address. Any other wrapping must be
    /// allowed itself, and so must what it wraps.
    pub fn check(&self, address: IpAddr) -> Result<(), Denied> {
        let address = address.to_canonical();
        self.check_one(address)?;
        if let IpAddr::V6(address) = address {
            for wrapped in nets::wrapped(address) {
                self.check_one(wrapped.into())?;
            }
        }
        Ok(())
    }

    /// Whether a target may reach the address that stands in `url` itself. Where
    /// it holds a name, the addresses are checked when it is resolved.
    pub fn check_url(&self, url: &Url) -> Result<(), Denied> {
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(address.into()),
            Some(Host::Ipv6(address)) => self.check(address.into()),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    fn check_one(&self, address: IpAddr) -> Result<(), Denied> {
        match nets::forbidding(address) {
            Some((range, what)) if !self.allow.iter().any(|net| net.contains(&address)) => {
                Err(Denied { range, what })
            }
            _ => Ok(()),
        }
    }
}

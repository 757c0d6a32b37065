//! Where a call comes from, as throttles count it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::Problem;

/// The peer's address as text: an IPv4 address, or the /64 of an IPv6 one, because a single machine commonly owns a whole /64 and would be as many
/// sources as it likes. The address is the connection's own; headers like `X-Forwarded-For` are anybody's to write and are not looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(Arc<str>);

impl Source {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<SocketAddr> for Source {
    fn from(peer: SocketAddr) -> Self {
        // A dual-stack listener shows IPv4 peers as ::ffff:a.b.c.d; they must not be one source together.
        let text = match peer.ip().to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        };
        Self(text.into())
    }
}

impl<S: Sync> FromRequestParts<S> for Source {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::internal("a request without its source"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> String {
        Source::from(text.parse::<SocketAddr>().expect("an address")).as_str().to_owned()
    }

    #[test]
    fn a_64_is_one_source() {
        assert_eq!(source("[2001:db8:1:2:3:4:5:6]:80"), "2001:db8:1:2::/64");
        assert_eq!(source("[2001:db8:1:2:ffff::1]:81"), "2001:db8:1:2::/64");
        assert_ne!(source("[2001:db8:1:3::1]:80"), "2001:db8:1:2::/64");
    }

    #[test]
    fn ipv4_is_itself_however_it_arrives() {
        assert_eq!(source("192.0.2.7:1"), "192.0.2.7");
        assert_eq!(source("[::ffff:192.0.2.7]:1"), "192.0.2.7");
        assert_ne!(source("[::ffff:192.0.2.8]:1"), "192.0.2.7");
    }
}

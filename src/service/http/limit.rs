//! Limits of requests by client, with addresses that have none.

use super::{App, answer::Refusal};
use crate::{report::ErrorKind, service::config::RateSettings};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
};

/// Requests a second and at once, where nothing else is said.
const STANDARD: u32 = 1024;

/// So many requests come between two times that clients who went are forgotten.
const FORGET_EVERY: u64 = 100_000;

/// The address that a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// An address, or all that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `10.0.0.1` or `10.0.0.0/8`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most))?;
        Some(Self { address, bits })
    }

    /// Whether an address is one of them.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let shifted = |bytes: u128, width: u8| bytes.checked_shr(u32::from(width - self.bits)).unwrap_or(0);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                shifted(u128::from(u32::from(own)), 32) == shifted(u128::from(u32::from(other)), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => shifted(u128::from(own), 128) == shifted(u128::from(other), 128),
            _ => false,
        }
    }
}

/// The limits.
pub struct Limits {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    free: Vec<Network>,
    seen: AtomicU64,
}

impl Limits {
    /// As they are configured.
    #[must_use]
    pub fn new(settings: Option<&RateSettings>) -> Self {
        let number = |said: Option<u32>| NonZeroU32::new(said.unwrap_or(STANDARD)).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(number(settings.and_then(|rate| rate.tps)))
            .allow_burst(number(settings.and_then(|rate| rate.size)));
        let free = settings.iter().flat_map(|rate| &rate.white_list).filter_map(|text| Network::parse(text)).collect();
        Self { limiter: RateLimiter::dashmap(quota), free, seen: AtomicU64::new(0) }
    }

    /// Whether one more request of this address may come.
    #[must_use]
    pub fn admit(&self, address: IpAddr) -> bool {
        if self.free.iter().any(|network| network.holds(address)) {
            return true;
        }
        if self.seen.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&address).is_ok()
    }
}

/// Refuses requests of clients that ask too often.
pub(super) async fn admit(State(app): State<App>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    if peer.is_some_and(|Peer(address)| !app.limits.admit(address)) {
        let words = "too many requests: wait a second";
        return Refusal::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::Contended, words).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |network: &str, address: &str| Network::parse(network).unwrap().holds(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.1.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && holds("::1", "::1") && holds("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(!holds("::/0", "1.2.3.4") && holds("fd00::/8", "fd12::1"));
        for bad in ["", "10.0.0.0/33", "x", "1.2.3/8", "::/129"] {
            assert!(Network::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_client_has_its_burst_and_no_more_and_others_have_theirs() {
        let settings = RateSettings { tps: Some(1), size: Some(3), white_list: vec!["9.9.9.9".to_owned()] };
        let limits = Limits::new(Some(&settings));
        let [one, two, free] = ["1.1.1.1", "2.2.2.2", "9.9.9.9"].map(|text| text.parse().unwrap());
        let admitted = (0..50).filter(|_| limits.admit(one)).count();
        assert!((3..10).contains(&admitted), "{admitted}");
        assert!(limits.admit(two) && (0..50).all(|_| limits.admit(free)));
    }
}

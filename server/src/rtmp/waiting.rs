//! Limits connections that have not authenticated yet, so that they cannot exclude publishers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections without a key.
#[derive(Debug)]
pub(super) struct Waiting {
    limit: usize,
    limit_per_address: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// The permit of a connection; released on drop.
#[derive(Debug)]
pub(super) struct WaitingPermit {
    waiting: Arc<Waiting>,
    network: IpAddr,
}

impl Waiting {
    /// Allows `limit` connections in total, and `limit_per_address` per address.
    pub(super) fn new(limit: usize, limit_per_address: usize) -> Arc<Self> {
        Arc::new(Self { limit, limit_per_address, counts: Mutex::default() })
    }

    /// Takes a permit for a connection from `address`.
    ///
    /// # Errors
    ///
    /// The limit that is reached, as text.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<WaitingPermit, String> {
        let network = network(address);
        let mut counts = self.counts();
        if counts.values().sum::<usize>() >= self.limit {
            return Err(format!("limit of {} connections without a key reached", self.limit));
        }
        let count = counts.entry(network).or_default();
        if *count >= self.limit_per_address {
            return Err(format!(
                "limit of {} connections without a key from this address reached",
                self.limit_per_address
            ));
        }
        *count += 1;
        Ok(WaitingPermit { waiting: self.clone(), network })
    }

    /// A panic while it was locked leaves the data consistent.
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WaitingPermit {
    fn drop(&mut self) {
        let mut counts = self.waiting.counts();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// The unit that counts as one address: for IPv6 the upper half, since one user has all of the lower half.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_address_and_in_all() {
        let waiting = Waiting::new(3, 2);
        let enter = |ip: &str| waiting.enter(ip.parse().unwrap());
        let first = enter("192.0.2.1").unwrap();
        let second = enter("::ffff:192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").unwrap_err().contains("this address"));
        let third = enter("2001:db8::1").unwrap();
        assert_eq!(enter("192.0.2.2").unwrap_err(), "limit of 3 connections without a key reached");
        drop((first, second));
        let fourth = enter("2001:db8::2").unwrap();
        assert!(enter("2001:db8:0:0:ffff::1").unwrap_err().contains("this address"));
        assert!(enter("2001:db8:0:1::1").is_ok());
        drop((third, fourth));
        assert!(waiting.counts().is_empty());
    }
}

//! The STUN and TURN servers in responses to peers, without permanent passwords.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use super::IceServer;

/// The validity of credentials made from a secret. Allocations made by then stay.
const LIFETIME: Duration = Duration::from_secs(3600);
/// The user of the credentials: TURN servers require one, and use it for quotas at most.
const USER: &str = "dreamframe";

impl IceServer {
    /// Returns the server for publishers: with credentials that are valid for an hour if it has a
    /// [`secret`](Self::secret), else with its own.
    pub fn for_publisher(&self) -> Self {
        self.at(SystemTime::now())
    }

    /// Returns the server for viewers: with credentials that are valid for an hour if it has a
    /// [`secret`](Self::secret); `None` for one with a permanent password.
    pub fn for_viewer(&self) -> Option<Self> {
        (self.secret.is_some() || self.credential.is_none()).then(|| self.for_publisher())
    }

    fn at(&self, now: SystemTime) -> Self {
        let mut server = Self { secret: None, ..self.clone() };
        if let Some(secret) = &self.secret {
            let expiry = now.duration_since(UNIX_EPOCH).unwrap_or_default() + LIFETIME;
            let username = format!("{}:{USER}", expiry.as_secs());
            server.credential = credential(secret, &username);
            server.username = Some(username);
        }
        server
    }
}

/// The password of `username` at a TURN server with `secret`
/// (draft-uberti-behave-turn-rest-00, `static-auth-secret` of coturn).
fn credential(secret: &str, username: &str) -> Option<String> {
    // HMAC accepts keys of any length.
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(username.as_bytes());
    Some(BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn() -> IceServer {
        IceServer { urls: vec!["turn:relay.example:3478".into()], ..IceServer::default() }
    }

    /// Reference values by Python's `hmac`.
    #[test]
    fn credentials_are_the_ones_that_a_turn_server_expects() {
        let server = IceServer { secret: Some("north".into()), ..turn() };
        let told = server.at(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        assert_eq!(told.username.as_deref(), Some("1800003600:dreamframe"));
        assert_eq!(told.credential.as_deref(), Some("GquKDt9AzgwhLoa8RqzTCATcjKE="));
        assert_eq!((told.urls, told.secret), (server.urls.clone(), None));
        let viewers = server.for_viewer().unwrap();
        let (expiry, user) = viewers.username.as_deref().unwrap().split_once(':').unwrap();
        let left = expiry.parse::<u64>().unwrap() - SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!((3500..=3600).contains(&left) && user == "dreamframe", "{viewers:?}");
    }

    #[test]
    fn a_password_that_stays_is_for_publishers_alone() {
        let fixed = IceServer { username: Some("name".into()), credential: Some("password".into()), ..turn() };
        assert_eq!((fixed.for_publisher(), fixed.for_viewer()), (fixed.clone(), None));
        let stun = IceServer { urls: vec!["stun:a:3478".into()], ..IceServer::default() };
        assert_eq!(stun.for_viewer(), Some(stun));
    }

    #[test]
    fn no_debug_output_has_a_password_or_a_secret() {
        let server = IceServer { credential: Some("hidden".into()), secret: Some("hidden".into()), ..turn() };
        assert!(!format!("{server:?}").contains("hidden"));
    }
}

//! The form of entries of the registry: `1 <expiry> <signature> <payload>`.
//!
//! The expiry is in seconds since 1970. The signature covers the key of the entry, the expiry and the payload, so that
//! an entry is valid under one key and for one time. Without a secret, the signature is `-`.

use super::secret::Secret;

/// The time for which an entry of a worker is valid, in seconds.
pub(super) const KEPT: u64 = 8;
/// The largest difference between the clocks of gateways and workers, in seconds.
pub(super) const CLOCKS: u64 = 30;

const VERSION: &str = "1";
const UNSIGNED: &str = "-";
const PURPOSE: &str = "dreamframe registry 1";

/// The reason for ignoring an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has another format, for example of another version.
    Form,
    /// The signature is wrong, or present without a secret here.
    Signature,
    /// It has expired, or its expiry is too far in the future.
    Time,
}

impl Refusal {
    /// Returns the text for the log.
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Form => "unknown format",
            Self::Signature => "signed with another secret",
            Self::Time => "expired, or the clocks differ by more than 30 seconds",
        }
    }
}

/// Creates the entry that `payload` is under `key`, until [`KEPT`] seconds after `now`.
pub(super) fn seal(secret: Option<&Secret>, key: &str, now: u64, payload: &str) -> String {
    let expiry = now.saturating_add(KEPT).to_string();
    let signature = match secret {
        Some(secret) => secret.sign(PURPOSE, &[key.as_bytes(), expiry.as_bytes(), payload.as_bytes()]),
        None => UNSIGNED.to_owned(),
    };
    format!("{VERSION} {expiry} {signature} {payload}")
}

/// Returns the payload of an entry under `key`.
pub(super) fn open<'a>(secret: Option<&Secret>, key: &str, now: u64, entry: &'a str) -> Result<&'a str, Refusal> {
    let mut parts = entry.splitn(4, ' ');
    let mut part = || parts.next().ok_or(Refusal::Form);
    let (version, expiry, signature, payload) = (part()?, part()?, part()?, part()?);
    if version != VERSION {
        return Err(Refusal::Form);
    }
    // Checked before the rest is parsed.
    let is_signed = match secret {
        Some(secret) => secret.is_signed(PURPOSE, &[key.as_bytes(), expiry.as_bytes(), payload.as_bytes()], signature),
        None => signature == UNSIGNED,
    };
    if !is_signed {
        return Err(Refusal::Signature);
    }
    let expiry: u64 = expiry.parse().map_err(|_| Refusal::Form)?;
    let is_over = now > expiry.saturating_add(CLOCKS);
    let is_early = expiry > now.saturating_add(KEPT + CLOCKS);
    if is_over || is_early { Err(Refusal::Time) } else { Ok(payload) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::new(&[byte; 32]).unwrap()
    }

    #[test]
    fn an_entry_is_good_from_its_time_to_its_time_and_as_clocks_differ() {
        let entry = seal(Some(&secret(1)), "a", 1000, "payload");
        let at = |now| open(Some(&secret(1)), "a", now, &entry);
        for now in [970, 1000, 1008, 1038] {
            assert_eq!(at(now), Ok("payload"), "{now}");
        }
        for now in [0, 969, 1039, u64::MAX] {
            assert_eq!(at(now), Err(Refusal::Time), "{now}");
        }
    }

    #[test]
    fn signed_and_unsigned_entries_are_of_different_clusters() {
        let (signed, unsigned) = (seal(Some(&secret(1)), "a", 0, "p"), seal(None, "a", 0, "p"));
        assert_eq!(open(None, "a", 0, &unsigned), Ok("p"));
        for (here, entry) in [(None, &signed), (Some(secret(1)), &unsigned), (Some(secret(2)), &signed)] {
            assert_eq!(open(here.as_ref(), "a", 0, entry), Err(Refusal::Signature), "{entry}");
        }
    }

    /// The format is a contract between versions of the program, so it is spelled out here.
    #[test]
    fn format_is_stable() {
        let entry = seal(Some(&secret(b'k')), "dreamframe:worker:wkr_1", 1_700_000_000, "{}");
        let message =
            b"\0\0\0\x15dreamframe registry 1\0\0\0\x17dreamframe:worker:wkr_1\0\0\0\x0a1700000008\0\0\0\x02{}";
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[b'k'; 32]);
        let tag = crate::auth::hex(ring::hmac::sign(&key, message).as_ref());
        assert_eq!(entry, format!("1 1700000008 {tag} {{}}"));
    }

    proptest! {
        #[test]
        fn only_sealed_entries_are_opened(
            key in "[ -~]{0,30}",
            payload in "[ -~]{0,60}",
            now in 0_u64..1 << 40,
            at in any::<prop::sample::Index>(),
            with in "[ -~]",
        ) {
            let here = secret(1);
            let entry = seal(Some(&here), &key, now, &payload);
            prop_assert_eq!(open(Some(&here), &key, now, &entry), Ok(payload.as_str()));
            let other_key = key.clone() + "x";
            prop_assert!(open(Some(&here), &other_key, now, &entry).is_err());
            // One character is replaced, removed or added.
            let at = at.index(entry.len());
            let ((before, rest), after) = (entry.split_at(at), &entry[at + 1..]);
            let changes = [format!("{before}{with}{after}"), format!("{before}{after}"), format!("{before}{with}{rest}")];
            for changed in changes {
                prop_assert_eq!(open(Some(&here), &key, now, &changed).is_ok(), changed == entry, "{}", changed);
            }
        }

        #[test]
        fn no_text_is_more_than_refused(text in "\\PC{0,80}", now: u64) {
            for here in [None, Some(secret(1))] {
                let _ = open(here.as_ref(), "a", now, &text);
            }
            prop_assert!(open(Some(&secret(1)), "a", now, &text).is_err());
        }
    }
}

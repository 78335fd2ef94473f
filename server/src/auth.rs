//! Authentication: bearer keys, compared in constant time.

use axum::http::{HeaderMap, StatusCode, header};
use dreamframe::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use crate::error::ApiError;
use crate::ids;

/// The owner of streams that were made without a key.
pub(crate) const LOCAL: &str = "local";
/// The shortest key, in characters: shorter ones can be guessed, as attempts are not limited.
const SHORTEST: usize = 16;

/// The keys of the API; without any, all clients may use it.
#[derive(Clone, Default)]
pub(crate) struct Keys {
    /// Digests, so that keys of any length are compared alike, and a memory dump has no key.
    digests: Vec<[u8; 32]>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("count", &self.digests.len()).finish()
    }
}

/// The sender of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The holder of an API key, or anyone where there are none: the name that its streams have as `author`, which identifies
    /// the key without revealing it.
    Key(String),
    /// The holder of the control token of a stream, by the stream's id.
    Token(String),
}

impl Caller {
    /// The sender of requests to a server without keys.
    pub(crate) fn local() -> Self {
        Self::Key(LOCAL.into())
    }

    /// The name that streams have as `author`; that of no stream for the holder of a control token.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Key(name) => name,
            Self::Token(_) => "",
        }
    }
}

/// The prefix of control tokens.
const CONTROL: &str = "ctl_";

/// A secret that gives access to one stream.
pub(crate) struct ControlToken(String);

impl std::fmt::Debug for ControlToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ControlToken(…)")
    }
}

impl ControlToken {
    /// Creates one that cannot be guessed.
    pub(crate) fn new() -> Self {
        Self(ids::new(CONTROL))
    }

    /// The token of a request.
    pub(crate) fn of_request(headers: &HeaderMap) -> Option<Self> {
        bearer(headers).filter(|key| key.starts_with(CONTROL)).map(|key| Self(key.to_owned()))
    }

    /// The token itself, for its owner.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// Its digest, by which streams are found: the server does not keep the token.
    pub(crate) fn digest(&self) -> String {
        hex(&digest(&self.0))
    }
}

impl Keys {
    /// Takes keys from text: one a line or between commas; `#` begins a remark.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a key that is too short or has characters that no header carries.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let keys = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|key| !key.is_empty());
        let mut digests = Vec::new();
        for (index, key) in keys.enumerate() {
            if key.len() < SHORTEST || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                let text = format!(
                    "API key {}: got {} characters, expected at least {SHORTEST}, all of them visible ASCII",
                    index + 1,
                    key.chars().count()
                );
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            }
            digests.push(digest(key));
        }
        Ok(Self { digests })
    }

    /// Adds the keys of `other`.
    pub(crate) fn extend(&mut self, other: Self) {
        self.digests.extend(other.digests);
    }

    /// Returns true if the API needs no key.
    pub(crate) fn is_open(&self) -> bool {
        self.digests.is_empty()
    }

    /// Returns the sender of a request with `headers`.
    ///
    /// # Errors
    ///
    /// 401 without a key, or with one that is not ours, where keys are configured.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        if self.is_open() {
            return Ok(Caller::local());
        }
        let Some(key) = bearer(headers) else {
            let text = "Send an API key: Authorization: Bearer <key>";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "AUTH/MISSING", text));
        };
        self.find(key).ok_or_else(|| ApiError::new(StatusCode::UNAUTHORIZED, "AUTH/INVALID", "Unknown API key"))
    }

    /// Compares with every key in full, so that the time does not depend on the keys.
    fn find(&self, key: &str) -> Option<Caller> {
        let (sent, mut found, mut index) = (digest(key), Choice::from(0), 0_u64);
        for (place, known) in (0_u64..).zip(&self.digests) {
            let same = known.ct_eq(&sent);
            index = u64::conditional_select(&index, &place, same);
            found |= same;
        }
        let known = self.digests.get(usize::try_from(index).ok()?)?;
        bool::from(found).then(|| Caller::Key(format!("key_{}", hex(known.get(..4).unwrap_or_default()))))
    }
}

/// The key of `Authorization: Bearer <key>`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim()).filter(|key| !key.is_empty())
}

/// The key of a request, which `/v1/api-key` returns to its sender.
pub(crate) fn sent_key(headers: &HeaderMap) -> Option<&str> {
    bearer(headers)
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn without_keys_every_request_is_accepted() {
        let keys = Keys::default();
        for headers in [HeaderMap::new(), headers("Bearer x"), headers("nonsense")] {
            assert_eq!(keys.caller(&headers).unwrap(), Caller::local());
        }
    }

    #[test]
    fn with_keys_only_their_holders_are_accepted_as_different_callers() {
        let keys =
            Keys::parse("first-key-of-a-test # of the studio\n\nsecond-key-of-a-test,third-key-of-a-test\n").unwrap();
        let name = |value: &str| keys.caller(&headers(value)).map(|caller| caller.name().to_owned());
        let names: Vec<_> =
            ["Bearer first-key-of-a-test", "bearer second-key-of-a-test", "Bearer  third-key-of-a-test "]
                .map(|value| name(value).unwrap())
                .into();
        assert!(names.iter().all(|name| name.len() == 12) && names[0] != names[1] && names[1] != names[2]);
        for wrong in [
            "Bearer first-key-of-a-tes",
            "Bearer first-key-of-a-tests",
            "first-key-of-a-test",
            "Bearer ",
            "Bearer FIRST-KEY-OF-A-TEST",
            "Basic first-key-of-a-test",
        ] {
            assert_eq!(name(wrong).unwrap_err().status(), StatusCode::UNAUTHORIZED, "{wrong}");
        }
        assert_eq!(keys.caller(&HeaderMap::new()).unwrap_err().status(), StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn keys_are_in_no_debug_output_and_in_no_name() {
        let keys = Keys::parse("very-secret-key-of-a-test").unwrap();
        let caller = keys.caller(&headers("Bearer very-secret-key-of-a-test")).unwrap();
        assert!(!format!("{keys:?}{caller:?}").contains("secret"));
    }

    #[test]
    fn short_and_unprintable_keys_are_refused() {
        for text in ["short", "only-15-letters", "has space in it, and length", "ümlaute-sind-nichts"] {
            assert_eq!(Keys::parse(text).unwrap_err().kind(), ErrorKind::InvalidArgument, "{text}");
        }
        assert!(Keys::parse("all-16-letters-x").is_ok());
        assert!(Keys::parse("# only a remark\n").unwrap().is_open());
    }

    #[test]
    fn a_control_token_is_known_by_its_digest_alone() {
        let token = ControlToken::new();
        let sent = ControlToken::of_request(&headers(&format!("Bearer {}", token.secret()))).unwrap();
        assert_eq!(sent.digest(), token.digest());
        assert_ne!(ControlToken::new().digest(), token.digest());
        assert!(!format!("{token:?}{}", token.digest()).contains(&token.secret()[4..]));
        assert!(ControlToken::of_request(&headers("Bearer a-key-of-a-test")).is_none());
    }
}

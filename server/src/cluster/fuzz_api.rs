//! Fuzzing entry points: entries of the registry.

use super::seal;
use super::secret::Secret;
use super::worker::{Worker, least_loaded};

/// Opens an entry of the registry under `key` at the time `now`, as it is and sealed as the payload of another.
///
/// # Panics
///
/// If an entry opens that was not sealed, a sealed one does not open, or one opens with other contents.
pub fn registry_entry(key: &str, now: u64, entry: &str, change: usize) {
    let secret = Secret::new(&[7; 32]).expect("a secret of 32 bytes");
    // A signature cannot be guessed.
    assert!(seal::open(Some(&secret), key, now, entry).is_err());
    if let Ok(payload) = seal::open(None, key, now, entry) {
        assert!(entry.ends_with(payload));
        check_worker(payload);
    }
    check_worker(entry);
    for secret in [Some(&secret), None] {
        let sealed = seal::seal(secret, key, now, entry);
        assert_eq!(seal::open(secret, key, now, &sealed).ok(), Some(entry));
        let changed = changed(&sealed, change);
        if secret.is_some() && changed != sealed {
            assert!(seal::open(secret, key, now, &changed).is_err(), "{changed:?}");
        }
        assert!(seal::open(secret, key, now.saturating_add(3600), &sealed).is_err() || now > u64::MAX - 7200);
    }
}

/// Replaces the character after the first `at`.
fn changed(text: &str, at: usize) -> String {
    let at = at % text.chars().count().max(1);
    text.chars().enumerate().map(|(index, c)| if index == at { if c == 'x' { 'y' } else { 'x' } } else { c }).collect()
}

fn check_worker(payload: &str) {
    let Ok(worker) = serde_json::from_str::<Worker>(payload) else { return };
    let written = serde_json::to_string(&worker).expect("a worker can be written");
    assert_eq!(serde_json::from_str::<Worker>(&written).expect("a written worker is read"), worker);
    let chosen = least_loaded(std::slice::from_ref(&worker));
    assert_eq!(chosen.is_some(), !worker.draining && worker.streams < worker.max_streams);
}

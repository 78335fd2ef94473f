//! Fuzzing entry points: datagrams.

use dreamframe::{ParamsPatch, StreamDiffusionParams};

use super::packet::{self, OscError};
use super::write::{Write, resolve};

/// Reads a datagram, and applies what it writes to the default parameters.
///
/// # Panics
///
/// If an error has no text, or values are accepted that the parameters cannot have.
pub fn osc(bytes: &[u8]) {
    let defaults = StreamDiffusionParams::default();
    let writes = packet::read(bytes).and_then(|messages| messages.into_iter().map(Write::new).collect());
    let values = writes.and_then(|writes: Vec<Write>| {
        assert!(writes.iter().all(|write| !write.path().is_empty() && write.bytes() > 0));
        resolve(&writes, &defaults, &defaults)
    });
    match values {
        Ok(values) => {
            let merged = ParamsPatch::from_value(values.into()).and_then(|patch| patch.merge(&defaults));
            match merged {
                Ok((params, _)) => params.validate().expect("a merge gives valid parameters"),
                Err(error) => assert!(!error.violations().is_empty()),
            }
        }
        Err(error) => check(&error),
    }
}

fn check(error: &OscError) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 4096 && !text.contains(char::is_control), "{text:?}");
}

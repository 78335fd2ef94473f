//! The rate limit of a stream: that of a data channel, for all senders together.

use std::time::{Duration, Instant};

use dreamframe::transport::TokenBucket;

use super::packet::OscError;
use super::write::{Write, resolve};
use crate::streams::Stream;

/// The rate per second, and the burst, of changes.
const CHANGES_PER_SECOND: u32 = 60;
/// The most values that wait, and their bytes.
const MOST_WAITING: usize = 256;
const MOST_BYTES: usize = 1 << 20;

/// The rate limiter of one stream. Values that arrive while others wait are joined with them: the last of a path counts.
#[derive(Debug)]
pub(super) struct Pace {
    allowance: TokenBucket,
    waiting: Vec<Write>,
    /// The time at which those that wait are tried.
    due: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        let allowance = TokenBucket::new(CHANGES_PER_SECOND, CHANGES_PER_SECOND);
        Self { allowance, waiting: Vec::new(), due: None }
    }
}

impl Pace {
    /// Applies what arrived at `now`, or keeps it for later.
    ///
    /// # Errors
    ///
    /// The reason why nothing of it is applied.
    pub(super) fn arrived(&mut self, stream: &Stream, writes: Vec<Write>, now: Instant) -> Result<(), OscError> {
        let joined = join(&self.waiting, writes);
        let bytes: usize = joined.iter().map(Write::bytes).sum();
        if joined.len() > MOST_WAITING || bytes > MOST_BYTES {
            let reason = format!(
                "got {} values of {bytes} bytes to apply, expected at most {MOST_WAITING} of {MOST_BYTES} bytes",
                joined.len()
            );
            return Err(OscError::Refused { stream: stream.id.clone(), reason });
        }
        self.waiting = joined;
        if self.due.is_some() { Ok(()) } else { self.apply(stream, now) }
    }

    /// The time at which [`ready`](Self::ready) is to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Applies what has waited, if it is time for it at `now`.
    ///
    /// # Errors
    ///
    /// The reason why it is not applied; it is dropped then.
    pub(super) fn ready(&mut self, stream: &Stream, now: Instant) -> Result<(), OscError> {
        if self.due.is_some_and(|due| due <= now) { self.apply(stream, now) } else { Ok(()) }
    }

    fn apply(&mut self, stream: &Stream, now: Instant) -> Result<(), OscError> {
        self.due = None;
        if let Err(wait) = self.allowance.take(now) {
            self.due = Some(now + wait);
            return Ok(());
        }
        let applied = self.try_apply(stream, now);
        if self.due.is_none() {
            self.waiting.clear();
        }
        applied
    }

    fn try_apply(&mut self, stream: &Stream, now: Instant) -> Result<(), OscError> {
        let values = resolve(&self.waiting, &stream.params(), &stream.config().default_params())?;
        let wait = stream.rebuild_wait(&values, now);
        if wait > Duration::ZERO {
            self.due = Some(now + wait);
            return Ok(());
        }
        let refused = |reason: String| OscError::Refused { stream: stream.id.clone(), reason };
        stream.update_values(values).map(drop).map_err(|error| refused(error.message().to_owned()))
    }
}

/// Adds `newer` to those that wait: a value replaces those of its path and within it.
fn join(waiting: &[Write], newer: Vec<Write>) -> Vec<Write> {
    let mut joined = waiting.to_vec();
    for write in newer {
        joined.retain(|old| !old.path().starts_with(write.path()));
        joined.push(write);
    }
    joined
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rosc::OscType;

    use super::super::packet::Message;
    use super::*;
    use crate::auth::Caller;
    use crate::config::Config;
    use crate::streams::Store;
    use crate::wire::request::Request;

    fn write(path: &str, value: OscType) -> Write {
        let path = path.split('/').map(str::to_owned).collect();
        Write::new(Message { stream: "one".into(), path, values: vec![value] }).unwrap()
    }

    #[tokio::test]
    async fn costly_changes_wait_and_take_along_what_follows() {
        let store = Store::new(Arc::new(Config::for_tests())).unwrap();
        let stream = store.create(&Caller::local(), Request::default()).unwrap().0;
        let (mut pace, start) = (Pace::default(), Instant::now());
        for at in 1..=8 {
            pace.arrived(&stream, vec![write("width", OscType::Int(64 * at))], start).unwrap();
        }
        pace.arrived(&stream, vec![write("delta", OscType::Float(0.5))], start).unwrap();
        assert_eq!((stream.params().width, stream.params().delta), (256, 0.7), "four at once");
        let due = pace.due().unwrap();
        assert!(due <= start + Duration::from_millis(600));
        pace.ready(&stream, due).unwrap();
        assert_eq!((stream.params().width, stream.params().delta), (512, 0.5));
        assert_eq!(pace.due(), None);
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_what_is_refused_does_not_stay() {
        let store = Store::new(Arc::new(Config::for_tests())).unwrap();
        let stream = store.create(&Caller::local(), Request::default()).unwrap().0;
        let (mut pace, start) = (Pace::default(), Instant::now());
        let many =
            |count| (0..count).map(|at| write(&format!("lora_dict/{at}"), OscType::Float(1.0))).collect::<Vec<_>>();
        assert!(matches!(pace.arrived(&stream, many(300), start), Err(OscError::Refused { .. })));
        assert!(matches!(pace.arrived(&stream, many(20), start), Err(OscError::Refused { .. })));
        let long = vec![write("prompt", OscType::String("x".repeat(MOST_BYTES + 1)))];
        assert!(matches!(pace.arrived(&stream, long, start), Err(OscError::Refused { .. })));
        assert!(pace.waiting.is_empty());
        pace.arrived(&stream, vec![write("delta", OscType::Float(0.5))], start).unwrap();
        assert_eq!(stream.params().delta, 0.5);
    }

    #[test]
    fn a_value_replaces_those_of_its_path() {
        let old = [write("controlnets/0/conditioning_scale", OscType::Float(0.5)), write("delta", OscType::Float(0.5))];
        let joined = join(&old, vec![write("delta", OscType::Int(1)), write("controlnets", OscType::Nil)]);
        let paths: Vec<_> = joined.iter().map(|write| write.path().join("/")).collect();
        assert_eq!(paths, ["delta", "controlnets"]);
    }
}

//! Standard output, for programs. No other code of this crate writes to it, except for raw video.

use std::io::{self, Write};

use dreamframe::Error;
use serde::Serialize;

use super::exit::{Failure, Result};

/// Standard output, one flushed line at a time.
#[derive(Debug)]
pub(super) struct Output(io::Stdout);

impl Output {
    pub(super) fn new() -> Self {
        Self(io::stdout())
    }

    /// Writes `value` as one line of JSON.
    pub(super) fn line(&mut self, value: &impl Serialize) -> Result {
        let line = serde_json::to_string(value).map_err(|error| written(io::Error::from(error)))?;
        self.text(&line)
    }

    /// Writes `text`, with an end of line if it has none.
    pub(super) fn text(&mut self, text: &str) -> Result {
        let mut out = self.0.lock();
        let end = if text.ends_with('\n') { "" } else { "\n" };
        write!(out, "{text}{end}").and_then(|()| out.flush()).map_err(written)
    }
}

fn written(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::Unread;
    }
    Failure::from(Error::io("standard output", "write to", error))
}

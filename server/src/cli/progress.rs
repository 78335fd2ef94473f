//! Progress of a command: a bar for people, events for programs.
//!
//! The events are JSON objects, one per line on standard output: `start` (what runs), `notice`, `update` (a patch of
//! the timeline was applied), `picture` (one was written), `done`; `error` is written where a command fails.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::exit::Result;
use super::output::Output;

/// The receiver of progress.
#[derive(Debug)]
pub(super) struct Progress {
    to: To,
    started: Instant,
    pictures: u64,
}

#[derive(Debug)]
enum To {
    /// Hidden if standard error is not a terminal.
    Person(ProgressBar),
    Program(Output),
}

impl Progress {
    /// Starts; `total` pictures are to come, where that is known.
    pub(super) fn new(json: bool, total: Option<u64>) -> Self {
        let to = if json { To::Program(Output::new()) } else { To::Person(bar(total)) };
        Self { to, started: Instant::now(), pictures: 0 }
    }

    /// Reports the configuration; people see it in the bar's title.
    pub(super) fn start(&mut self, title: &str, mut facts: Value) -> Result {
        match &mut self.to {
            To::Person(bar) => bar.println(format!("dreamframe: {title}")),
            To::Program(out) => {
                if let Value::Object(facts) = &mut facts {
                    facts.shift_insert(0, "event".into(), "start".into());
                }
                out.line(&facts)?;
            }
        }
        Ok(())
    }

    /// Reports a value that is interpreted differently or ignored.
    pub(super) fn notice(&mut self, text: &str) -> Result {
        match &mut self.to {
            To::Person(bar) => report(bar, &format!("dreamframe: note: {text}")),
            To::Program(out) => out.line(&json!({"event": "notice", "text": text}))?,
        }
        Ok(())
    }

    /// Reports `text` to people, or `event` to programs.
    pub(super) fn report(&mut self, text: impl FnOnce() -> String, event: impl FnOnce() -> Value) -> Result {
        match &mut self.to {
            To::Person(bar) => report(bar, text().trim_end()),
            To::Program(out) => out.line(&event())?,
        }
        Ok(())
    }

    /// Reports that a patch was applied before `frame`.
    pub(super) fn update(&mut self, frame: u64, cost: &str) -> Result {
        match &mut self.to {
            To::Person(bar) => report(bar, &format!("dreamframe: frame {frame}: parameters changed ({cost})")),
            To::Program(out) => out.line(&json!({"event": "update", "frame": frame, "cost": cost}))?,
        }
        Ok(())
    }

    /// Reports that the picture of `frame` was written, and the time that it took.
    pub(super) fn picture(&mut self, frame: u64, kind: &str, took: Duration) -> Result {
        self.pictures += 1;
        match &mut self.to {
            To::Person(bar) => {
                bar.inc(1);
                bar.set_message(format!("{:.1} fps", self.pictures as f64 / self.started.elapsed().as_secs_f64()));
            }
            To::Program(out) => {
                out.line(&json!({"event": "picture", "frame": frame, "kind": kind, "ms": milliseconds(took)}))?;
            }
        }
        Ok(())
    }

    /// Reports the end, and the path of the result.
    pub(super) fn done(self, output: &str) -> Result {
        let seconds = self.started.elapsed().as_secs_f64();
        let fps = self.pictures as f64 / seconds;
        match self.to {
            To::Person(bar) => {
                bar.finish_and_clear();
                eprintln!("dreamframe: {} pictures in {seconds:.1} s ({fps:.1} fps): {output}", self.pictures);
            }
            To::Program(mut out) => out.line(&json!({
                "event": "done", "pictures": self.pictures, "seconds": rounded(seconds), "fps": rounded(fps),
                "output": output,
            }))?,
        }
        Ok(())
    }
}

/// Above the bar; `ProgressBar::println` writes nothing if the bar is hidden.
fn report(bar: &ProgressBar, text: &str) {
    bar.suspend(|| eprintln!("{text}"));
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{wide_bar} {pos}/{len}  {msg}  {eta} left"),
        None => (ProgressBar::no_length(), "{spinner} {pos}  {msg}"),
    };
    // A template that does not parse would be a bug; the plain bar does as well.
    if let Ok(style) = ProgressStyle::with_template(template) { bar.with_style(style) } else { bar }
}

/// Milliseconds to the microsecond.
pub(super) fn milliseconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

/// Rounds to three digits after the point.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

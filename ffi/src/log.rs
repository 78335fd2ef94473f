//! Log messages for the host: one callback for each engine and its sessions.

use std::ffi::{c_char, c_void};
use std::fmt::{self, Write as _};
use std::sync::{Arc, OnceLock};

use dreamframe::{Error, ErrorKind, Result};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use crate::callback::{Gate, UserData};
use crate::text;

/// Log level.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_log_level_t {
    /// The session ends.
    DREAMFRAME_LOG_LEVEL_ERROR = 1,
    /// A picture or an update was lost.
    DREAMFRAME_LOG_LEVEL_WARN = 2,
    /// Start, stop, updates applied.
    DREAMFRAME_LOG_LEVEL_INFO = 3,
    /// Plans and caches; may quote prompts.
    DREAMFRAME_LOG_LEVEL_DEBUG = 4,
    /// Messages for every frame.
    DREAMFRAME_LOG_LEVEL_TRACE = 5,
}

/// Receives a log message.
///
/// - Threads: called on the thread of a call, and on those of sessions; never concurrently for one engine.
///   Must not wait for another call into the library.
/// - Ownership: the texts are valid during the call.
///
/// @param user_data  that of the options
/// @param level      a `dreamframe_log_level_t`
/// @param target     the module of the library
/// @param message    one line
pub type dreamframe_log_callback_t =
    Option<unsafe extern "C" fn(user_data: *mut c_void, level: u32, target: *const c_char, message: *const c_char)>;

const LEVELS: [(u32, Level); 5] = [
    (dreamframe_log_level_t::DREAMFRAME_LOG_LEVEL_ERROR as u32, Level::ERROR),
    (dreamframe_log_level_t::DREAMFRAME_LOG_LEVEL_WARN as u32, Level::WARN),
    (dreamframe_log_level_t::DREAMFRAME_LOG_LEVEL_INFO as u32, Level::INFO),
    (dreamframe_log_level_t::DREAMFRAME_LOG_LEVEL_DEBUG as u32, Level::DEBUG),
    (dreamframe_log_level_t::DREAMFRAME_LOG_LEVEL_TRACE as u32, Level::TRACE),
];

/// Returns the level of a number, `info` for 0.
///
/// # Errors
///
/// `InvalidArgument` for an invalid number.
pub(crate) fn level(number: u32) -> Result<Level> {
    if number == 0 {
        return Ok(Level::INFO);
    }
    let found = LEVELS.iter().find(|(known, _)| *known == number);
    found.map(|(_, level)| *level).ok_or_else(|| {
        Error::new(ErrorKind::InvalidArgument, format!("log_level: got {number}, expected 0 to {}", LEVELS.len()))
    })
}

/// Returns the subscriber for the current thread; `None` if the host has no callback.
pub(crate) fn dispatch(
    callback: dreamframe_log_callback_t,
    user_data: UserData,
    level: Level,
    gate: Arc<Gate>,
) -> Option<Dispatch> {
    let callback = callback?;
    // With a single subscriber, tracing caches the interest of whichever thread reaches a call site first; that thread
    // may belong to an engine without a log.
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| Dispatch::new(Silent));
    Some(Dispatch::new(HostLog { callback, user_data, level, gate }))
}

struct HostLog {
    callback: unsafe extern "C" fn(*mut c_void, u32, *const c_char, *const c_char),
    user_data: UserData,
    level: Level,
    gate: Arc<Gate>,
}

impl Subscriber for HostLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.into())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        let number = LEVELS.iter().find(|(_, level)| level == metadata.level()).map_or(0, |(number, _)| *number);
        let (target, line) = (text::c_string(metadata.target()), text::c_string(line.text()));
        self.gate.call(|| {
            // SAFETY: the host's callback, with texts that outlive the call.
            unsafe { (self.callback)(self.user_data.0, number, target.as_ptr(), line.as_ptr()) };
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Ignores everything.
struct Silent;

impl Subscriber for Silent {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A log line: the message, then the other fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn text(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a `String` cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

//! Forwards the library's log records to Python's `logging`.
//!
//! Threads of the library only put a record into a queue. Calls from Python deliver the queued records when they
//! return; a thread of this module delivers them otherwise.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use pyo3::intern;
use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as Values};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::interpreter;

/// Capacity of the queue; further records are dropped and counted.
const WAITING: usize = 1024;
/// The crate whose records are forwarded.
const ROOT: &str = "dreamframe";
/// Python has no level below this one.
const TRACE: usize = 5;

/// One log record.
struct Record {
    level: usize,
    logger: String,
    text: String,
}

struct Queue {
    records: SyncSender<Record>,
    /// Locked only by a thread that holds the interpreter, and briefly.
    waiting: Mutex<Receiver<Record>>,
    lost: AtomicU64,
    bell: SyncSender<()>,
}

static QUEUE: OnceLock<Queue> = OnceLock::new();
/// The lowest level that is enabled for Python's logger.
static LEVEL: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Installs the subscriber, once per process.
pub(crate) fn start(py: Python<'_>) {
    let (records, waiting) = sync_channel(WAITING);
    let (bell, rung) = sync_channel(1);
    let queue = Queue { records, waiting: Mutex::new(waiting), lost: AtomicU64::new(0), bell };
    if QUEUE.set(queue).is_err() {
        return;
    }
    // A program that embeds Python may have a subscriber already; then that one stays.
    if tracing::subscriber::set_global_default(Listener::default()).is_err() {
        return;
    }
    refresh(py);
    // Without the thread, records are delivered by the next call.
    let _ = thread::Builder::new()
        .name("dreamframe-log".into())
        .spawn(move || while rung.recv().is_ok() && interpreter::attach(deliver).is_some() {});
}

/// Reads the level of Python's logger.
pub(crate) fn refresh(py: Python<'_>) {
    let level = logger(py, ROOT).and_then(|logger| logger.call_method0(intern!(py, "getEffectiveLevel"))?.extract());
    LEVEL.store(level.unwrap_or(usize::MAX), Ordering::Relaxed);
}

fn logger<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "logging"))?.call_method1(intern!(py, "getLogger"), (name,))
}

/// Delivers the queued records.
pub(crate) fn deliver(py: Python<'_>) {
    let Some(queue) = QUEUE.get() else { return };
    while let Some(record) = next(queue) {
        let lost = queue.lost.swap(0, Ordering::Relaxed);
        let delivered = logger(py, &record.logger).and_then(|logger| {
            if lost > 0 {
                logger
                    .call_method1(intern!(py, "log"), (30, format!("{lost} records were lost: the queue was full")))?;
            }
            logger.call_method1(intern!(py, "log"), (record.level, record.text))
        });
        if let Err(error) = delivered {
            error.write_unraisable(py, None);
        }
    }
}

fn next(queue: &Queue) -> Option<Record> {
    queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).try_recv().ok()
}

/// Receives the library's log records.
#[derive(Default)]
struct Listener {
    spans: AtomicU64,
}

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let ours = metadata.is_event() && name(metadata.target()).starts_with(ROOT);
        // The level of Python's logger may change at any time.
        if ours { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        level(*metadata.level()) >= LEVEL.load(Ordering::Relaxed)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Values<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(queue) = QUEUE.get() else { return };
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        let record = Record {
            level: level(*metadata.level()),
            logger: name(metadata.target()).replace("::", "."),
            text: format!("{}{}", text.message, text.fields),
        };
        if queue.records.try_send(record).is_err() {
            queue.lost.fetch_add(1, Ordering::Relaxed);
        }
        // Already notified, or there is no thread.
        let _ = queue.bell.try_send(());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Returns the logger's name for a target: this module logs under the package's name.
fn name(target: &str) -> &str {
    target.trim_start_matches('_')
}

fn level(level: Level) -> usize {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => TRACE,
    }
}

/// Collects the message of an event.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a `String` cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

//! Model check: the files that synchronize threads, compiled again with shuttle's primitives, under schedules that
//! shuttle chooses.
//!
//! shuttle is used instead of loom because it runs crossbeam's queues and the parameter code unmodified, so the code
//! itself is checked and not a copy made for the check.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "not every part of these files has a place in the model")]
#![allow(clippy::duplicate_mod, reason = "the second compilation is what the model is")]

#[path = "../engine_traits.rs"]
mod engine_traits;
#[path = "../event_log.rs"]
mod event_log;
#[path = "../events.rs"]
mod events;
#[path = "../../sync/latest_slot.rs"]
mod latest_slot;
#[path = "../../sync/notifier.rs"]
mod notifier;
mod order;
mod primitives;
#[path = "../output/relay.rs"]
mod relay;
mod relayed;
#[path = "../updates/mod.rs"]
mod updates;
mod wakes;

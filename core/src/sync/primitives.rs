//! The synchronisation primitives of `sync` and `session`.
//!
//! The model check (`session/model`) compiles the files that use them a second time, with shuttle's primitives in this
//! module's place; so these files import them from here alone.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
pub(crate) use std::sync::{Mutex, MutexGuard};
pub(crate) use std::thread::{Thread, current, park, park_timeout};

pub(crate) use crossbeam::queue::{ArrayQueue, SegQueue};

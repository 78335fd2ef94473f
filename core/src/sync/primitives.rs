//! What threads meet at. The model check compiles this module's files a second time, with other primitives in the place
//! of these, whose every step it orders; so no file takes them from anywhere else.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
pub(crate) use std::sync::{Mutex, MutexGuard};
pub(crate) use std::thread::{Thread, current, park, park_timeout};

pub(crate) use crossbeam::queue::{ArrayQueue, SegQueue};

//! How threads hand over values and wake each other without locks.

pub(crate) mod latest_slot;
pub(crate) mod notifier;
pub(crate) mod primitives;

//! All of it together, on one thread.

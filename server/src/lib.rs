//! The parts of the command line that tests and fuzzers reach: pictures and video, in and out.

pub mod media;

//! The handlers: parse, call, answer. Which path leads to which is in [`app`](crate::app).

pub(crate) mod health;
pub(crate) mod hls;
pub(crate) mod legacy;
mod media;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod page;
pub(crate) mod record;
pub(crate) mod scope;
mod scope_headless;
mod scope_recordings;
pub(crate) mod status;
pub(crate) mod streams;
pub(crate) mod whep;
pub(crate) mod whip;

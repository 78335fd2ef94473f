//! The streams of this server: parameters, session, publisher and viewers of each.

mod adaptation;
mod budget;
mod desired;
mod fit;
mod frame_router;
mod journal;
mod lifecycle;
mod load_progress;
mod placeholder;
mod publishing;
mod rate_meter;
mod session_manager;
mod state;
mod status;
mod store;
mod stream;
mod target;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::publishing::Publication;
pub(crate) use self::state::StreamState;
pub(crate) use self::store::{Preloaded, Store};
pub(crate) use self::stream::{MOST_LISTENERS_OF_ONE, Stream};

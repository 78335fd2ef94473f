//! The streams of this server: parameters, session, publisher and viewers of each.

mod desired;
mod fit;
mod frame_router;
mod lifecycle;
mod placeholder;
mod publishing;
mod rate_meter;
mod session_manager;
mod state;
mod status;
mod store;
mod stream;
mod target;

pub(crate) use self::publishing::Publication;
pub(crate) use self::state::StreamState;
pub(crate) use self::store::Store;
pub(crate) use self::stream::{MOST_LISTENERS_OF_ONE, Stream};

//! The streams of this server: what each is asked for, the session that makes its pictures, who publishes and who watches.

mod card;
mod care;
mod desired;
mod feed;
mod fit;
mod pace;
mod publishing;
mod runner;
mod state;
mod status;
mod store;
mod stream;
mod target;

pub(crate) use self::publishing::Publication;
pub(crate) use self::state::StreamState;
pub(crate) use self::store::Store;
pub(crate) use self::stream::{MOST_LISTENERS_OF_ONE, Stream};

//! The objects of handles in a library with the feature `transport`.

mod link;
mod options;
mod player;
mod publisher;
mod server;

pub(crate) use self::link::Link;
pub(crate) use self::player::PlayerCell;
pub(crate) use self::publisher::PublisherCell;
pub(crate) use self::server::ServerCell;

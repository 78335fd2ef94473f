//! Which addresses belong to the public internet: the only ones that a client may have this server connect to.

pub(crate) use dreamframe::transport::public_address::is_public;

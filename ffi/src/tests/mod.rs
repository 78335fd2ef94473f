//! The functions as C calls them: correctly, incorrectly, from several threads, after free, and with a panic inside.

mod callbacks;
mod calls;
mod device_frames;
mod engines;
mod frames;
mod hostile;
mod kit;
#[cfg(feature = "transport")]
mod loopback;
mod network;
#[cfg(feature = "transport")]
mod peers;
mod sessions;
mod structs;
mod surface;
mod texts;

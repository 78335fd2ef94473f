//! The functions as C calls them: correctly, incorrectly, from several threads, after free, and with a panic inside.

mod callbacks;
mod calls;
mod device_frames;
mod engines;
mod frames;
mod hooks;
mod hostile;
mod images;
mod kit;
#[cfg(feature = "transport")]
mod loopback;
mod models;
mod network;
#[cfg(feature = "transport")]
mod peers;
mod sessions;
mod structs;
mod surface;
mod text_to_image;
mod texts;

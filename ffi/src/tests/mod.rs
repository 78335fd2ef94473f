//! The functions as C calls them: well, wrongly, from several threads, after free, and with a panic behind them.

mod callbacks;
mod calls;
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

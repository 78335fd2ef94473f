//! The functions as C calls them: well, wrongly, from several threads, after free, and with a panic behind them.

mod calls;
mod frames;
mod hostile;
mod kit;
mod structs;
mod surface;
mod texts;

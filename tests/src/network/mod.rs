//! Publishers, servers and viewers over loopback: numbered pictures, a bad link between the ends, and who sees what when.

mod pattern;
mod program;
mod proxy;
mod relay;
mod scene;
mod screen;
mod source;
mod talk;

pub use pattern::{Pattern, read};
pub use program::{LiveStream, Program};
pub use proxy::Proxy;
pub use relay::Conditions;
pub use scene::{Echo, client_options, loopback, serve_options};
pub use screen::{Screen, Shown, longest_gap};
pub use source::{Drawn, Source};
pub use talk::Talk;

//! Publishers, servers and viewers over loopback: numbered pictures, a bad link between the ends, and who sees what when.

mod blocks;
mod conditions;
mod faults;
mod malformed;
mod pattern;
mod program;
mod proxy;
mod random;
mod relay;
mod scene;
mod screen;
mod sessions;
mod source;
mod storm;
mod talk;
mod trial;

pub use blocks::{draw_blocks, read_blocks};
pub use conditions::{Conditions, Direction, Impairment};
pub use faults::{Fault, FaultKind, Script, Side};
pub use malformed::Malformed;
pub use pattern::{Pattern, read};
pub use program::{Answer, LiveStream, Program};
pub use proxy::Proxy;
pub use scene::{Echo, client_options, loopback, serve_options};
pub use screen::{Screen, Shown, longest_gap};
pub use sessions::{Sessions, open_and_drop};
pub use source::{Drawn, Source};
pub use storm::{Offers, Target};
pub use talk::Talk;
pub use trial::{Trial, steady_after};

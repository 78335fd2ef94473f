//! The effect of ControlNets: the weight of each in each row, and the sum of their residuals. The networks
//! themselves are in `models`; `engine` runs them.

mod history;
mod residuals;
mod window;

pub use self::history::History;
pub use self::residuals::Residuals;
pub use self::window::Window;

//! What ControlNets come to: which rows each counts for, and the sum of what they add to the UNet. Plain numbers; the
//! networks themselves are in `models`, and who runs them in `engine`.

mod history;
mod residuals;
mod window;

pub use self::history::History;
pub use self::residuals::Residuals;
pub use self::window::Window;

//! How several prompts or seeds are mixed.

use super::names::named_enum;

named_enum! {
    /// How several prompts or seeds are mixed.
    pub enum Interpolation {
        /// The weighted sum.
        Linear = "linear",
        /// Along the arc between two; more than two are mixed linearly.
        Slerp = "slerp",
    }
}

//! The wire's hint about how to accelerate.

use super::names::named_enum;

named_enum! {
    /// What a Daydream client asks to be accelerated with.
    ///
    /// It is a hint that travels unchanged: whatever it says, the best executor of this machine runs.
    pub enum Acceleration {
        /// Nothing in particular.
        None = "none",
        /// Memory-efficient attention.
        Xformers = "xformers",
        /// TensorRT engines; upstream's default.
        Tensorrt = "tensorrt",
    }
}

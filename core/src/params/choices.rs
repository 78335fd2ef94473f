//! Parameters that are one of several names.

use super::names::named_enum;

named_enum! {
    /// The interpolation of several prompts or seeds.
    pub enum Interpolation {
        /// A weighted sum.
        Linear = "linear",
        /// Spherical interpolation of two values; more than two are mixed linearly.
        Slerp = "slerp",
    }
}

named_enum! {
    /// The kind of acceleration that a Daydream client prefers: a hint, which changes nothing, since the best executor of
    /// the machine runs in any case.
    pub enum Acceleration {
        /// No preference.
        None = "none",
        /// Memory-efficient attention.
        Xformers = "xformers",
        /// TensorRT engines; the default of the service.
        Tensorrt = "tensorrt",
    }
}

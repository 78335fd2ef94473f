//! What was built in.

/// Lists the features of this build, by the names of `Cargo.toml`.
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "clip-tokenizer")]
    "clip-tokenizer",
    #[cfg(feature = "demo-model")]
    "demo-model",
    #[cfg(feature = "edges")]
    "edges",
    #[cfg(feature = "hub")]
    "hub",
    #[cfg(feature = "pose")]
    "pose",
    #[cfg(feature = "reference")]
    "reference",
    #[cfg(feature = "safety")]
    "safety",
    #[cfg(feature = "segmentation")]
    "segmentation",
    #[cfg(feature = "vp8")]
    "vp8",
    #[cfg(feature = "whep")]
    "whep",
    #[cfg(feature = "whip")]
    "whip",
];

//! The features of this build.

/// Lists the features of this build, by the names of `Cargo.toml`.
///
/// ```
/// use dreamframe::{FEATURES, ModelSource};
///
/// let source = if FEATURES.contains(&"demo-model") { ModelSource::Demo } else { ModelSource::folder("models") };
/// assert_eq!(source, ModelSource::Demo);
/// ```
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "clip-tokenizer")]
    "clip-tokenizer",
    #[cfg(feature = "demo-model")]
    "demo-model",
    #[cfg(feature = "edges")]
    "edges",
    #[cfg(feature = "hub")]
    "hub",
    #[cfg(feature = "onnx")]
    "onnx",
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

#[cfg(test)]
mod tests {
    /// Features that no user of the crate chooses by themselves.
    const NOT_LISTED: [&str; 3] = ["default", "transport", "internals"];

    #[test]
    fn the_crate_page_lists_each_feature_and_whether_it_is_a_default() {
        let manifest = include_str!("../Cargo.toml");
        let (_, features) = manifest.split_once("\n[features]\n").unwrap();
        let features = features.split_once("\n\n").unwrap().0;
        let defaults = features.lines().find(|line| line.starts_with("default = ")).unwrap();
        let names = features.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
        let names: Vec<&str> = names.filter(|name| !name.starts_with(['#', ' ', '"'])).collect();
        assert!(names.len() > NOT_LISTED.len());
        for name in names.into_iter().filter(|name| !NOT_LISTED.contains(name)) {
            let default = if defaults.contains(&format!("{name:?}")) { "yes" } else { "no" };
            let row = format!("//! | `{name}` | {default} | ");
            assert!(include_str!("lib.rs").contains(&row), "the table of features in lib.rs has no row {row:?}");
        }
    }
}

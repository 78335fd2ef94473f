//! One value, or several with weights: prompts and seeds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One value, or several with weights.
///
/// In JSON, a single value is the bare value, and several are `[[value, weight], …]`; each keeps its form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Weighted<T> {
    /// One value, with a weight of one.
    One(T),
    /// Several values, each with its weight, at least 0.
    Blend(Vec<(T, f64)>),
}

impl<T> Weighted<T> {
    /// Returns the number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Blend(items) => items.len(),
        }
    }

    /// Returns true if there is no value, which validation refuses.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterates over the values with their weights; a bare value has weight 1.
    ///
    /// ```
    /// use dreamframe::StreamDiffusionParams;
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let json = r#"{"prompt": [["snow", 3.0], ["fog", 1.0]], "seed": 42}"#;
    /// let (params, _) = StreamDiffusionParams::demo().patched(json)?;
    /// let weights: Vec<_> = params.prompt.iter().map(|(text, weight)| (&**text, weight)).collect();
    /// assert_eq!(weights, [("snow", 3.0), ("fog", 1.0)]);
    /// assert_eq!(params.seed.iter().collect::<Vec<_>>(), [(&42, 1.0)]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&T, f64)> {
        let (one, blend) = match self {
            Self::One(value) => (Some((value, 1.0)), [].as_slice()),
            Self::Blend(items) => (None, items.as_slice()),
        };
        one.into_iter().chain(blend.iter().map(|(value, weight)| (value, *weight)))
    }

    /// Returns the sum of the weights.
    pub fn total_weight(&self) -> f64 {
        self.iter().map(|(_, weight)| weight).sum()
    }
}

impl<T> From<T> for Weighted<T> {
    fn from(value: T) -> Self {
        Self::One(value)
    }
}

impl From<&str> for Weighted<String> {
    fn from(value: &str) -> Self {
        Self::One(value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_value_and_a_list_keep_their_forms() {
        for text in [r#""snow""#, r#"[["snow",1.0]]"#, r#"[["snow",0.5],["fog",2.0]]"#] {
            let weighted: Weighted<String> = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&weighted).unwrap(), text);
        }
    }

    #[test]
    fn a_single_value_has_weight_one() {
        assert_eq!(Weighted::from(7_u64).iter().collect::<Vec<_>>(), [(&7, 1.0)]);
        assert_eq!(Weighted::Blend(vec![(1_u64, 0.25), (2, 0.5)]).total_weight(), 0.75);
    }
}

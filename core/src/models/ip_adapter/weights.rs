//! The weight of an image in each cross attention, by weight type.
//!
//! The layers of style and of composition are determined by their blocks. For Stable Diffusion 1.5 they are those of the
//! usual tables of layer numbers; SDXL's tables number whole transformers, not layers.

use super::sites::{CrossAttention, Place, checkpoint_order};
use crate::models::ModelFamily;
use crate::params::WeightType;

/// What easing leaves of the weight where it is weakest.
const LEAST: f32 = 0.05;
/// What of the weight the transformers before the last get in the block of the composition.
const BEFORE_LAST: f32 = 0.25;

/// What a layer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Style,
    Composition { last: bool },
    Neither,
}

/// Returns how much an image counts at each of `sites` (a UNet's, in the order of its program) for a scale of 1.
pub fn layer_weights(family: ModelFamily, sites: &[CrossAttention], kind: WeightType) -> Vec<f32> {
    let mut weights = vec![0.0; sites.len()];
    let last = sites.len().saturating_sub(1).max(1) as f32;
    let middle = last / 2.0;
    let parts = Parts::of(family, sites);
    for (i, site) in checkpoint_order(sites).into_iter().enumerate() {
        let (Some(weight), Some(part)) = (weights.get_mut(site), sites.get(site).map(|site| parts.part(site))) else {
            continue;
        };
        let i = i as f32;
        let eased = |strength: f32| LEAST + (1.0 - LEAST) * strength;
        let from_middle = (i - middle).abs() / middle.max(1.0);
        let composition = |last: bool| if last { 1.0 } else { BEFORE_LAST };
        *weight = match (kind, part) {
            (WeightType::EaseIn, _) => eased(1.0 - i / last),
            (WeightType::EaseOut, _) => eased(i / last),
            (WeightType::EaseInOut, _) => eased(1.0 - from_middle),
            (WeightType::ReverseInOut, _) => eased(from_middle),
            (
                WeightType::Composition | WeightType::CompositionPrecise | WeightType::StyleAndComposition,
                Part::Composition { last },
            ) => composition(last),
            (
                WeightType::StyleTransfer | WeightType::StyleTransferPrecise | WeightType::StyleAndComposition,
                Part::Style,
            ) => 1.0,
            (WeightType::StrongStyleTransfer, Part::Style | Part::Neither) => 1.0,
            (
                WeightType::Composition
                | WeightType::CompositionPrecise
                | WeightType::StyleTransfer
                | WeightType::StyleTransferPrecise
                | WeightType::StyleAndComposition
                | WeightType::StrongStyleTransfer,
                _,
            ) => 0.0,
            (
                WeightType::Linear
                | WeightType::WeakInput
                | WeightType::WeakOutput
                | WeightType::WeakMiddle
                | WeightType::StrongMiddle,
                _,
            ) => 1.0,
        };
    }
    weights
}

/// By what the weights of a row at `stage` of `stages` are multiplied: only the four types that follow the steps say
/// anything but 1. A single stage is the first and the last at once, and counts in full.
pub fn stage_weight(kind: WeightType, stage: usize, stages: usize) -> f32 {
    const LEAST: f32 = 0.2;
    if stages < 2 {
        return 1.0;
    }
    let x = stage as f32 / (stages - 1) as f32;
    let from_middle = (2.0 * x - 1.0).abs();
    let strength = match kind {
        WeightType::WeakInput => x,
        WeightType::WeakOutput => 1.0 - x,
        WeightType::WeakMiddle => from_middle,
        WeightType::StrongMiddle => 1.0 - from_middle,
        WeightType::Linear
        | WeightType::EaseIn
        | WeightType::EaseOut
        | WeightType::EaseInOut
        | WeightType::ReverseInOut
        | WeightType::StyleTransfer
        | WeightType::Composition
        | WeightType::StrongStyleTransfer
        | WeightType::StyleAndComposition
        | WeightType::StyleTransferPrecise
        | WeightType::CompositionPrecise => 1.0,
    };
    LEAST + (1.0 - LEAST) * strength
}

/// The blocks that the parts lie in.
struct Parts {
    family: ModelFamily,
    /// The coarsest block that attends to the text in the down blocks.
    composition: Option<Place>,
    /// The coarsest one in the up blocks.
    first_up: Option<Place>,
}

impl Parts {
    fn of(family: ModelFamily, sites: &[CrossAttention]) -> Self {
        let places = || sites.iter().map(|site| site.place);
        Self {
            family,
            composition: places().rfind(|place| matches!(place, Place::Down(_))),
            first_up: places().find(|place| matches!(place, Place::Up(_))),
        }
    }

    fn part(&self, site: &CrossAttention) -> Part {
        let place = Some(site.place);
        if place == self.composition {
            return Part::Composition { last: site.last };
        }
        // SDXL has its style in one block; the others have it in all blocks but this one.
        let in_first_up = place == self.first_up;
        let style = match self.family {
            ModelFamily::Sdxl => in_first_up,
            ModelFamily::Sd15 | ModelFamily::Sd21 => !in_first_up,
        };
        if style { Part::Style } else { Part::Neither }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::UnetConfig;
    use crate::models::ip_adapter::cross_attentions;
    use crate::models::known::known_model;

    fn sites(name: &str) -> (ModelFamily, Vec<CrossAttention>) {
        let config = UnetConfig::from_json(known_model(name).unwrap().unet).unwrap();
        (ModelFamily::of(&config), cross_attentions(&config))
    }

    /// Returns the weights of Stable Diffusion 1.5 in the order of the tables, which is that of the checkpoints.
    fn sd15(kind: WeightType) -> Vec<f32> {
        let (family, sites) = sites("sd15");
        let weights = layer_weights(family, &sites, kind);
        checkpoint_order(&sites).into_iter().map(|i| weights[i]).collect()
    }

    /// Returns the table: layers with a weight, and 0 for the others.
    fn table(rows: &[(std::ops::RangeInclusive<usize>, f32)]) -> Vec<f32> {
        (0..16).map(|i| rows.iter().find(|(range, _)| range.contains(&i)).map_or(0.0, |row| row.1)).collect()
    }

    #[test]
    fn style_and_composition_of_stable_diffusion_15_are_the_layers_of_the_table() {
        use WeightType as T;
        let style = table(&[(0..=3, 1.0), (9..=15, 1.0)]);
        let composition = table(&[(4..=4, 0.25), (5..=5, 1.0)]);
        for (kind, expected) in [
            (T::StyleTransfer, style.clone()),
            (T::StyleTransferPrecise, style),
            (T::Composition, composition.clone()),
            (T::CompositionPrecise, composition),
            (T::StrongStyleTransfer, table(&[(0..=3, 1.0), (6..=15, 1.0)])),
            (T::StyleAndComposition, table(&[(0..=3, 1.0), (4..=4, 0.25), (5..=5, 1.0), (9..=15, 1.0)])),
            (T::Linear, table(&[(0..=15, 1.0)])),
        ] {
            assert_eq!(sd15(kind), expected, "{kind:?}");
        }
    }

    #[test]
    fn easing_goes_from_a_twentieth_to_all() {
        use WeightType as T;
        for (kind, first, eighth, last) in [
            (T::EaseIn, 1.0, 0.05 + 0.95 * 8.0 / 15.0, 0.05),
            (T::EaseOut, 0.05, 0.05 + 0.95 * 7.0 / 15.0, 1.0),
            (T::EaseInOut, 0.05, 0.05 + 0.95 * (1.0 - 0.5 / 7.5), 0.05),
            (T::ReverseInOut, 1.0, 0.05 + 0.95 * 0.5 / 7.5, 1.0),
        ] {
            let weights = sd15(kind);
            for (weight, expected) in [weights[0], weights[7], weights[15]].into_iter().zip([first, eighth, last]) {
                assert!((weight - expected).abs() < 1e-6, "{kind:?}: {weights:?}");
            }
        }
    }

    #[test]
    fn no_weight_type_disables_sdxl_and_its_style_is_the_first_up_block() {
        let (family, sites) = sites("sdxl-turbo");
        let style = layer_weights(family, &sites, WeightType::StyleTransfer);
        let composition = layer_weights(family, &sites, WeightType::Composition);
        for ((site, style), composition) in sites.iter().zip(style).zip(composition) {
            assert_eq!(style, f32::from(site.place == Place::Up(0)), "{site:?}");
            let expected = match site.place {
                Place::Down(2) if site.transformer == 0 => 0.25,
                Place::Down(2) => 1.0,
                Place::Down(_) | Place::Mid | Place::Up(_) => 0.0,
            };
            assert_eq!(composition, expected, "{site:?}");
        }
        for kind in WeightType::ALL {
            for name in ["sd15", "sdxl-turbo", "bk-sdm-tiny"] {
                let (family, sites) = self::sites(name);
                let weights = layer_weights(family, &sites, *kind);
                assert!(weights.iter().any(|&weight| weight > 0.0), "{kind:?} {name}");
                assert!(weights.iter().all(|weight| (0.0..=1.0).contains(weight)), "{kind:?} {name}");
            }
        }
        assert!(layer_weights(family, &[], WeightType::EaseIn).is_empty());
    }

    #[test]
    fn four_types_follow_the_steps() {
        use WeightType as T;
        let of = |kind| [0, 1, 2].map(|stage| stage_weight(kind, stage, 3));
        assert_eq!(of(T::Linear), [1.0; 3]);
        assert_eq!(of(T::WeakInput), [0.2, 0.6, 1.0]);
        assert_eq!(of(T::WeakOutput), [1.0, 0.6, 0.2]);
        assert_eq!(of(T::WeakMiddle), [1.0, 0.2, 1.0]);
        assert_eq!(of(T::StrongMiddle), [0.2, 1.0, 0.2]);
        for kind in WeightType::ALL {
            assert_eq!(stage_weight(*kind, 0, 1), 1.0, "{kind:?}");
        }
    }
}

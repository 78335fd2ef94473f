//! Control images: ControlNets with equal preprocessors and settings share one.

use crate::error::{Error, ErrorKind, Result};
use crate::params::{ControlNetConfig, ProcessorName};
use crate::preprocess::{Recipe, Registry};

/// Channels of a frame, and of what most preprocessors make of it.
const FRAME_CHANNELS: usize = 3;

/// Returns the preprocessor of the control image of a network that takes `channels`; `None` if it is the frame itself.
///
/// # Errors
///
/// Those of [`Registry::recipe`]; `Unsupported` if the image has another number of channels.
pub(super) fn recipe(registry: &Registry, config: &ControlNetConfig, channels: usize) -> Result<Option<Recipe>> {
    let of = |name| registry.recipe_for(Some(&config.model_id), name, &config.preprocessor_params);
    let recipe = config.preprocessor.map(of).transpose()?;
    // Only the settings of optical flow change the number of channels.
    let free = config.preprocessor.is_some_and(|name| name.plain() == ProcessorName::TemporalNetTensorrt.plain());
    if !free && channels != FRAME_CHANNELS {
        let name = config.preprocessor.map_or("the frame", ProcessorName::name);
        let text = format!("channels of the control image from {name}: got {FRAME_CHANNELS}, expected {channels}");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    Ok(recipe)
}

/// Returns the distinct recipes, and for each of `recipes` its index among them.
pub(super) fn share_images(recipes: Vec<Option<Recipe>>) -> (Vec<Option<Recipe>>, Vec<usize>) {
    let mut images: Vec<Option<Recipe>> = Vec::new();
    let mut places = Vec::with_capacity(recipes.len());
    for recipe in recipes {
        let known = images.iter().position(|image| *image == recipe);
        places.push(known.unwrap_or(images.len()));
        if known.is_none() {
            images.push(recipe);
        }
    }
    (images, places)
}

/// Returns for each image of `new` the one of `old` whose processor continues: with equal settings if there is one,
/// otherwise with others. None is returned twice.
pub(in crate::engine) fn goes_on(old: &[Option<Recipe>], new: &[Option<Recipe>]) -> Vec<Option<usize>> {
    let mut taken = vec![false; old.len()];
    let mut from = vec![None; new.len()];
    let continues = |old: &Option<Recipe>, new: &Option<Recipe>| match (old, new) {
        (Some(old), Some(new)) => new.continues(old),
        (None, None) | (Some(_), None) | (None, Some(_)) => false,
    };
    let mut take = |fits: &dyn Fn(&Option<Recipe>, &Option<Recipe>) -> bool| {
        for (place, image) in new.iter().enumerate().filter(|(_, image)| image.is_some()) {
            let free = |&(place, old): &(usize, &Option<Recipe>)| !taken[place] && fits(old, image);
            if from[place].is_none()
                && let Some((found, _)) = old.iter().enumerate().find(free)
            {
                taken[found] = true;
                from[place] = Some(found);
            }
        }
    };
    take(&|old, new| old == new);
    take(&continues);
    from
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn made(name: ProcessorName, low: u32) -> Option<Recipe> {
        let mut settings = Map::new();
        if name == ProcessorName::Canny {
            settings.insert("low_threshold".into(), low.into());
        }
        Some(Registry::new().recipe(name, &settings).unwrap())
    }

    #[test]
    fn equal_preprocessors_share_an_image() {
        use ProcessorName::{Canny, SoftEdge};
        let recipes = vec![made(Canny, 50), None, made(SoftEdge, 0), made(Canny, 50), made(Canny, 60), None];
        let (images, places) = share_images(recipes);
        assert_eq!(images.len(), 4);
        assert_eq!(places, [0, 1, 2, 0, 3, 1]);
    }

    #[test]
    fn processors_with_equal_settings_continue_first() {
        use ProcessorName::{Canny, SoftEdge};
        let old = [made(Canny, 50), made(Canny, 60), None];
        assert_eq!(goes_on(&old, &[made(Canny, 60), made(Canny, 70)]), [Some(1), Some(0)]);
        assert_eq!(goes_on(&old, &[None, made(SoftEdge, 0), made(Canny, 1)]), [None, None, Some(0)]);
        assert_eq!(goes_on(&[], &[made(Canny, 60)]), [None]);
    }

    #[test]
    fn an_image_of_other_channels_than_the_network_takes_is_refused() {
        let registry = Registry::new();
        let mut config = ControlNetConfig::new("a");
        assert!(recipe(&registry, &config, 3).unwrap().is_none());
        let refused = recipe(&registry, &config, 6).unwrap_err();
        assert_eq!(refused.to_string(), "channels of the control image from the frame: got 3, expected 6");
        config.preprocessor = Some(ProcessorName::Canny);
        assert!(recipe(&registry, &config, 6).unwrap_err().to_string().contains("from canny: got 3"));
        assert!(recipe(&registry, &config, 3).unwrap().is_some());
    }
}

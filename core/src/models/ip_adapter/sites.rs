//! The cross attentions of a UNet, which attend to texts and images.

use crate::models::UnetConfig;
use crate::models::config::BlockConfig;

/// A block of a UNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// On the down half, from the finest resolution on.
    Down(usize),
    /// In the middle.
    Mid,
    /// On the up half, from the coarsest resolution on.
    Up(usize),
}

/// A layer of a UNet that attends to the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrossAttention {
    /// Its block.
    pub place: Place,
    /// Which transformer of the block it is in.
    pub transformer: usize,
    /// Whether that is the block's last transformer.
    pub last: bool,
    /// Channels of its keys and values.
    pub channels: usize,
}

/// Lists the cross attentions of a UNet in the order of its program: down, middle, up.
pub fn cross_attentions(config: &UnetConfig) -> Vec<CrossAttention> {
    let down = config.down.iter().enumerate().map(|(i, block)| (Place::Down(i), block));
    let mid = config.mid.iter().map(|block| (Place::Mid, block));
    let up = config.up.iter().enumerate().map(|(i, block)| (Place::Up(i), block));
    down.chain(mid).chain(up).flat_map(|(place, block)| of_block(place, block)).collect()
}

fn of_block(place: Place, block: &BlockConfig) -> impl Iterator<Item = CrossAttention> + use<> {
    // The middle has a transformer between each two resnets.
    let transformers = if place == Place::Mid { block.resnets - 1 } else { block.resnets };
    let layers: Vec<usize> =
        block.attention.iter().flat_map(|attention| attention.layers.iter().copied()).take(transformers).collect();
    let (count, channels) = (layers.len(), block.channels);
    layers.into_iter().enumerate().flat_map(move |(transformer, layers)| {
        let site = CrossAttention { place, transformer, last: transformer + 1 == count, channels };
        std::iter::repeat_n(site, layers)
    })
}

/// Returns the indices of `sites` in the order that adapters' checkpoints have them: down, up, middle.
pub(super) fn checkpoint_order(sites: &[CrossAttention]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sites.len()).collect();
    order.sort_by_key(|&i| sites.get(i).is_some_and(|site| site.place == Place::Mid));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::known::known_model;
    use crate::models::{UnetShape, unet_program};
    use crate::net::Rate;

    fn config(name: &str) -> UnetConfig {
        UnetConfig::from_json(known_model(name).unwrap().unet).unwrap()
    }

    #[test]
    fn the_published_unets_have_16_and_70_cross_attentions_and_the_middle_is_last_in_checkpoints() {
        for (name, count) in [("sd15", 16), ("sdxl-turbo", 70), ("bk-sdm-tiny", 9)] {
            let sites = cross_attentions(&config(name));
            assert_eq!(sites.len(), count, "{name}");
            let order = checkpoint_order(&sites);
            let places: Vec<Place> = order.iter().map(|&i| sites[i].place).collect();
            let rank = |place: &Place| match *place {
                Place::Down(i) => (0, i),
                Place::Up(i) => (1, i),
                Place::Mid => (2, 0),
            };
            assert!(places.is_sorted_by_key(rank), "{name}: {places:?}");
        }
    }

    #[test]
    fn they_are_the_image_inputs_of_the_program() {
        for name in ["sd15", "sdxl-turbo", "bk-sdm-tiny"] {
            let config = config(name);
            let side = config.latent_multiple();
            let shape = UnetShape { image_tokens: 4, ..UnetShape::new(2, side, side) };
            let program = unet_program(&config, &shape).unwrap();
            let inputs = program.inputs_at(Rate::Constant).filter(|input| input.name.starts_with("image_"));
            let inputs: Vec<_> = inputs.map(|input| (&*input.name, program.shape(input.value))).collect();
            let sites = cross_attentions(&config);
            assert_eq!(inputs.len(), 2 * sites.len());
            for (site, pair) in sites.iter().zip(inputs.chunks(2)) {
                let [(keys, keys_shape), (values, values_shape)] = pair else { panic!("{pair:?}") };
                let block = match site.place {
                    Place::Down(i) => format!("down_blocks.{i}"),
                    Place::Mid => "mid_block".to_owned(),
                    Place::Up(i) => format!("up_blocks.{i}"),
                };
                let path = format!("{block}.attentions.{}.", site.transformer);
                assert!(keys.starts_with(&format!("image_keys.{path}")), "{keys} {path}");
                assert!(values.starts_with(&format!("image_values.{path}")) && values.ends_with("attn2"), "{values}");
                assert_eq!((keys_shape.n, keys_shape.h, keys_shape.c), (2, 4, site.channels));
                assert_eq!(keys_shape, values_shape);
            }
        }
    }
}

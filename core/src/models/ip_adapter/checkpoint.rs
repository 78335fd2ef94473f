//! The kind and the sizes of an adapter, determined from its tensors: its checkpoint has no config.

use std::collections::BTreeSet;

use super::sites::{checkpoint_order, cross_attentions};
use crate::error::{Error, ErrorKind, Result};
use crate::models::UnetConfig;
use crate::net::WeightSource;

/// What an adapter reads of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// The vector that CLIP gives for the whole image.
    Regular,
    /// CLIP's states of all tokens.
    Plus,
    /// A vector for a face.
    Face,
}

/// How features become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Projection {
    /// One linear layer.
    Linear,
    /// Two, with the size of the layer between.
    Mlp(usize),
    /// Learnt tokens look at the features.
    Resampler(Resampler),
}

/// The sizes of a resampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resampler {
    pub(super) width: usize,
    pub(super) depth: usize,
    pub(super) heads: usize,
    pub(super) inner: usize,
}

/// The sizes of an IP-Adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterConfig {
    /// What it reads of an image.
    pub kind: AdapterKind,
    /// Tokens that an image becomes.
    pub tokens: usize,
    /// Numbers of a token, as many as the text's have.
    pub text_dim: usize,
    /// Numbers of a feature that it reads.
    pub feature_dim: usize,
    pub(super) projection: Projection,
    /// Number in the checkpoint and channels of each pair of keys and values, sorted.
    layers: Vec<(usize, usize)>,
}

/// What a resampler's tokens begin as.
const LATENTS: &str = "image_proj.latents";
/// Width of a resampler's heads.
const HEAD: usize = 64;
/// Maximum number of tokens of an image; published adapters have up to 257.
const MAX_TOKENS: usize = 1024;
/// Maximum number of layers of a resampler.
const MAX_DEPTH: usize = 64;

impl AdapterConfig {
    /// Determines the kind and the sizes of an adapter from the names and shapes of its tensors.
    ///
    /// # Errors
    ///
    /// `BadModel` for what is no adapter, naming the tensor; `Unsupported` for a kind that is not built.
    pub fn read<'a>(names: impl IntoIterator<Item = &'a str>, source: &dyn WeightSource) -> Result<Self> {
        let names: BTreeSet<&str> = names.into_iter().collect();
        let shapes = Shapes { source };
        let layers = layers(&names, &shapes)?;
        if names.contains(LATENTS) {
            return Self::plus(&shapes, layers);
        }
        if let Some(name) = ["image_proj.proj.3.weight", "image_proj.perceiver_resampler.proj_in.weight"]
            .iter()
            .find(|&&n| names.contains(n))
        {
            let text = format!(
                "the adapter has {name}; adapters of this kind are not supported: regular, plus and faceid are"
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let [text_dim] = shapes.of("image_proj.norm.weight")?;
        let (kind, last, projection) = if names.contains("image_proj.proj.0.weight") {
            let [inner, _] = shapes.of("image_proj.proj.0.weight")?;
            (AdapterKind::Face, "image_proj.proj.2.weight", Projection::Mlp(inner))
        } else {
            (AdapterKind::Regular, "image_proj.proj.weight", Projection::Linear)
        };
        let first = if kind == AdapterKind::Face { "image_proj.proj.0.weight" } else { last };
        let ([numbers, _], [_, feature_dim]) = (shapes.of(last)?, shapes.of(first)?);
        let tokens = numbers / text_dim;
        if !numbers.is_multiple_of(text_dim) || tokens > MAX_TOKENS {
            let text = format!("rows of {last}: got {numbers}, expected 1 to {MAX_TOKENS} times {text_dim}");
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        Ok(Self { kind, tokens, text_dim, feature_dim, projection, layers })
    }

    fn plus(shapes: &Shapes<'_>, layers: Vec<(usize, usize)>) -> Result<Self> {
        let [_, tokens, width] = shapes.of(LATENTS)?;
        let [text_dim, _] = shapes.of("image_proj.proj_out.weight")?;
        let [_, feature_dim] = shapes.of("image_proj.proj_in.weight")?;
        let [inner, _] = shapes.of("image_proj.layers.0.0.to_q.weight")?;
        let depth = (0..=MAX_DEPTH)
            .find(|i| shapes.source.shape(&format!("image_proj.layers.{i}.0.to_q.weight")).is_none())
            .unwrap_or(MAX_DEPTH);
        if !inner.is_multiple_of(HEAD) || tokens > MAX_TOKENS {
            let text = format!(
                "resampler of the adapter: got {tokens} tokens and {inner} channels, expected at most {MAX_TOKENS} tokens \
                 and a multiple of {HEAD} channels"
            );
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        let projection = Projection::Resampler(Resampler { width, depth, heads: inner / HEAD, inner });
        Ok(Self { kind: AdapterKind::Plus, tokens, text_dim, feature_dim, projection, layers })
    }

    /// Returns the numbers in the checkpoint of the keys and values for each cross attention of `unet`, in the order
    /// of [`cross_attentions`].
    ///
    /// # Errors
    ///
    /// `BadModel` if the adapter was made for another UNet, naming what differs.
    pub fn fit(&self, unet: &UnetConfig) -> Result<Vec<usize>> {
        let bad = |text: String| Err(Error::new(ErrorKind::BadModel, text));
        if self.text_dim != unet.text_dim {
            let (own, text) = (self.text_dim, unet.text_dim);
            return bad(format!("channels of the adapter's tokens: got {own}, expected {text} by the UNet"));
        }
        let sites = cross_attentions(unet);
        if self.layers.len() != sites.len() {
            let (own, count) = (self.layers.len(), sites.len());
            return bad(format!("cross attentions of the adapter: got {own}, expected {count} as in the UNet"));
        }
        let mut numbers = vec![0; sites.len()];
        for (&(number, channels), i) in self.layers.iter().zip(checkpoint_order(&sites)) {
            let (Some(site), Some(place)) = (sites.get(i), numbers.get_mut(i)) else { continue };
            if site.channels != channels {
                let place = site.place;
                let text = format!("{} as in the UNet's attention {place:?}", site.channels);
                return bad(format!("channels of ip_adapter.{number}.to_k_ip.weight: got {channels}, expected {text}"));
            }
            *place = number;
        }
        Ok(numbers)
    }

    /// Returns the name and the shape of what the tokens begin as, where they are learnt.
    pub fn latents_shape(&self) -> Option<(&'static str, [usize; 3])> {
        match self.projection {
            Projection::Resampler(sizes) => Some((LATENTS, [1, self.tokens, sizes.width])),
            Projection::Linear | Projection::Mlp(_) => None,
        }
    }

    /// Returns the channels of the keys and values with `number`.
    pub(super) fn channels(&self, number: usize) -> Option<usize> {
        self.layers.iter().find(|layer| layer.0 == number).map(|layer| layer.1)
    }
}

/// Returns the keys and values that there are, and their channels.
fn layers(names: &BTreeSet<&str>, shapes: &Shapes<'_>) -> Result<Vec<(usize, usize)>> {
    let number = |name: &&str| name.strip_prefix("ip_adapter.")?.strip_suffix(".to_k_ip.weight")?.parse::<usize>().ok();
    let mut numbers: Vec<usize> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    if numbers.is_empty() {
        let text = "not an IP-Adapter: no tensor is named ip_adapter.N.to_k_ip.weight";
        return Err(Error::new(ErrorKind::BadModel, text));
    }
    let layer = |number| Ok((number, shapes.of::<2>(&format!("ip_adapter.{number}.to_k_ip.weight"))?[0]));
    numbers.into_iter().map(layer).collect()
}

struct Shapes<'a> {
    source: &'a dyn WeightSource,
}

impl Shapes<'_> {
    /// Returns the shape of a tensor that must be there, with `N` dimensions, none of them 0.
    fn of<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let bad = |text: String| Error::new(ErrorKind::BadModel, text);
        let shape = self.source.shape(name).ok_or_else(|| bad(format!("tensor {name:?}: missing")))?;
        let good = <[usize; N]>::try_from(shape.clone()).ok().filter(|shape| !shape.contains(&0));
        good.ok_or_else(|| bad(format!("tensor {name:?}: got shape {shape:?}, expected {N} dimensions of at least 1")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::RandomWeights;
    use crate::models::known::known_model;
    use crate::net::WeightSpec;

    /// Returns the tensors of an adapter for `unet`, as far as their shapes count here.
    fn tensors(unet: &UnetConfig, image_proj: &[(&str, &[usize])]) -> Vec<WeightSpec> {
        let sites = cross_attentions(unet);
        let keys = checkpoint_order(&sites).into_iter().enumerate().map(|(k, i)| {
            let name = format!("ip_adapter.{}.to_k_ip.weight", 2 * k + 1);
            WeightSpec { name, shape: vec![sites[i].channels, unet.text_dim] }
        });
        let own = image_proj
            .iter()
            .map(|(name, shape)| WeightSpec { name: format!("image_proj.{name}"), shape: shape.to_vec() });
        own.chain(keys).collect()
    }

    fn read(tensors: &[WeightSpec]) -> Result<AdapterConfig> {
        AdapterConfig::read(tensors.iter().map(|spec| &*spec.name), &RandomWeights::new(1, tensors))
    }

    fn unet(name: &str) -> UnetConfig {
        UnetConfig::from_json(known_model(name).unwrap().unet).unwrap()
    }

    #[test]
    fn published_adapters_are_recognized_by_their_tensors() {
        let sd15 = unet("sd15");
        let regular = tensors(&sd15, &[("proj.weight", &[4 * 768, 1024]), ("norm.weight", &[768])]);
        let config = read(&regular).unwrap();
        assert_eq!((config.kind, config.tokens, config.feature_dim), (AdapterKind::Regular, 4, 1024));
        let numbers = config.fit(&sd15).unwrap();
        // The middle comes last in the file, and before the up half in the program.
        assert_eq!(numbers, [1, 3, 5, 7, 9, 11, 31, 13, 15, 17, 19, 21, 23, 25, 27, 29]);

        let face = tensors(
            &sd15,
            &[("proj.0.weight", &[1024, 512]), ("proj.2.weight", &[4 * 768, 1024]), ("norm.weight", &[768])],
        );
        let config = read(&face).unwrap();
        assert_eq!((config.kind, config.tokens, config.feature_dim), (AdapterKind::Face, 4, 512));

        let sdxl = unet("sdxl-turbo");
        let plus: [(&str, &[usize]); 5] = [
            ("latents", &[1, 16, 1280]),
            ("proj_in.weight", &[1280, 1280]),
            ("proj_out.weight", &[2048, 1280]),
            ("layers.0.0.to_q.weight", &[1280, 1280]),
            ("layers.1.0.to_q.weight", &[1280, 1280]),
        ];
        let config = read(&tensors(&sdxl, &plus)).unwrap();
        assert_eq!((config.kind, config.tokens, config.text_dim), (AdapterKind::Plus, 16, 2048));
        let resampler = Resampler { width: 1280, depth: 2, heads: 20, inner: 1280 };
        assert_eq!(config.projection, Projection::Resampler(resampler));
    }

    #[test]
    fn incompatible_adapters_are_rejected_by_name() {
        let sd15 = unet("sd15");
        let regular: [(&str, &[usize]); 2] = [("proj.weight", &[4 * 768, 1024]), ("norm.weight", &[768])];
        let refused = |image_proj: &[(&str, &[usize])], part: &str| {
            let error = read(&tensors(&sd15, image_proj)).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            error.kind()
        };
        assert_eq!(refused(&[], "image_proj.norm.weight"), ErrorKind::BadModel);
        assert_eq!(refused(&[("norm.weight", &[0])], "got shape [0]"), ErrorKind::BadModel);
        assert_eq!(
            refused(&[("proj.weight", &[770, 4]), ("norm.weight", &[768])], "got 770, expected 1 to"),
            ErrorKind::BadModel
        );
        assert_eq!(refused(&[("proj.3.weight", &[1])], "proj.3.weight"), ErrorKind::Unsupported);
        assert_eq!(read(&[]).unwrap_err().kind(), ErrorKind::BadModel);
        let adapter = read(&tensors(&sd15, &regular)).unwrap();
        let sdxl = adapter.fit(&unet("sdxl-turbo")).unwrap_err();
        assert!(sdxl.to_string().contains("got 768, expected 2048"), "{sdxl}");
        let small = adapter.fit(&unet("bk-sdm-tiny")).unwrap_err();
        assert!(small.to_string().contains("got 16, expected 9"), "{small}");
    }
}

//! Files of img2img-turbo: dictionaries that torch pickled, with changes of SD-Turbo's UNet and autoencoder.
//!
//! There are two layouts. Names of tensors are those of diffusers, with PEFT's parts in them (`base_layer`, `lora_A` and
//! the adapter's name):
//!
//! - pix2pix-turbo: `state_dict_unet` has LoRAs and the first convolution, or two of those that are mixed;
//!   `state_dict_vae` LoRAs and the convolutions of the skip connections.
//! - CycleGAN-turbo: `sd_encoder`, `sd_decoder` and `sd_other` have LoRAs of parts of the UNet. `sd_vae_enc` and `sd_vae_dec`
//!   have whole autoencoders, one for each direction: `vae` and `vae_b2a`. The encoder of the first and the decoder of the
//!   second count.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::bytes::Bytes;
use super::lora::weight_shape;
use super::lora_keys::{Role, layer_of, refuse_other_methods};
use super::source::{ModelId, ModelSource};
use super::weights::{WeightFiles, listed};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{ChangedTensor, LoraLayer, LowRank, NetworkChanges, WeightSource};

/// The alpha that PEFT has by default.
const PEFT_ALPHA: f32 = 8.0;
/// The sections of pix2pix-turbo: of the UNet, and of the autoencoder.
const PIX2PIX: [&str; 2] = ["state_dict_unet", "state_dict_vae"];
/// The sections of CycleGAN-turbo with LoRAs of the UNet.
const CYCLEGAN_UNET: [&str; 3] = ["sd_encoder", "sd_decoder", "sd_other"];
/// The sections of CycleGAN-turbo with autoencoders, and the modules of each that count.
const CYCLEGAN_VAE: [(&str, [&str; 2]); 2] =
    [("sd_vae_enc", ["encoder.", "quant_conv."]), ("sd_vae_dec", ["decoder.", "post_quant_conv."])];
/// The autoencoders of CycleGAN-turbo, by direction.
const DIRECTIONS: [&str; 2] = ["vae.", "vae_b2a."];
/// The two first convolutions that pix2pix-turbo may mix.
const TWINS: [&str; 2] = ["conv_in.conv_in_pretrained.", "conv_in.conv_in_curr."];
/// What PEFT puts before the parameters of a layer with a LoRA.
const BASE_LAYER: &str = ".base_layer.";

/// A layout of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurboLayout {
    /// pix2pix-turbo: one direction, any strength.
    Pix2Pix,
    /// CycleGAN-turbo: two directions, full strength.
    CycleGan,
}

/// A file of img2img-turbo.
#[derive(Debug)]
pub struct Img2ImgTurboFile {
    /// Its path.
    pub path: String,
    /// Its layout.
    pub layout: TurboLayout,
    /// All of its tensors.
    pub weights: Arc<WeightFiles>,
    /// The changes of the UNet.
    pub unet: NetworkChanges,
    /// The changes of the autoencoder.
    pub vae: NetworkChanges,
}

impl Img2ImgTurboFile {
    /// Finds the file `id`, and reads it for a direction: backward is from the second domain to the first, which files
    /// of pix2pix-turbo do not have.
    ///
    /// # Errors
    ///
    /// `NotFound`; `BadModel` for a broken file; `Unsupported` for another layout.
    pub fn find(source: &ModelSource, id: &ModelId, backward: bool) -> Result<Self> {
        Self::read(&source.lora(id)?, backward)
    }

    /// Reads the file at `path`: pickled, or a safetensors file with the same names, joined with dots.
    ///
    /// # Errors
    ///
    /// Those of [`find`](Self::find).
    pub fn read(path: &Path, backward: bool) -> Result<Self> {
        let name = path.display().to_string();
        Self::of(WeightFiles::single(name.clone(), Bytes::open(path)?)?, name, backward)
    }

    /// Reads a file in memory; `name` is its name in messages.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn from_bytes(name: &str, bytes: Vec<u8>, backward: bool) -> Result<Self> {
        Self::of(WeightFiles::from_bytes(name, bytes)?, name.to_owned(), backward)
    }

    fn of(weights: WeightFiles, path: String, backward: bool) -> Result<Self> {
        let mut names: Vec<&str> = weights.names().collect();
        names.sort_unstable();
        let read = || -> Result<_> {
            refuse_other_methods(&names)?;
            let layout = layout(&names)?;
            let (unet, vae) = match layout {
                TurboLayout::Pix2Pix => pix2pix(&weights, &names)?,
                TurboLayout::CycleGan => cyclegan(&weights, &names, backward)?,
            };
            Ok((layout, unet, vae))
        };
        let (layout, unet, vae) = read().map_err(|error| error.within(&path))?;
        Ok(Self { path, layout, weights: Arc::new(weights), unet, vae })
    }
}

fn bad(text: String) -> Error {
    Error::new(ErrorKind::BadModel, text)
}

/// Returns the names in `section`, each with the whole name.
fn in_section<'a>(names: &'a [&'a str], section: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    names.iter().filter_map(move |&name| Some((name.strip_prefix(section)?.strip_prefix('.')?, name)))
}

fn layout(names: &[&str]) -> Result<TurboLayout> {
    let has = |section: &&str| in_section(names, section).next().is_some();
    let cyclegan: Vec<&str> = CYCLEGAN_UNET.into_iter().chain(CYCLEGAN_VAE.map(|(section, _)| section)).collect();
    let (own, all): (TurboLayout, &[&str]) = match (PIX2PIX.iter().any(has), cyclegan.iter().any(has)) {
        (true, false) => (TurboLayout::Pix2Pix, &PIX2PIX),
        (false, true) => (TurboLayout::CycleGan, &cyclegan),
        (one, _) => {
            let text = format!(
                "layout: got {} with tensors such as {}, expected the sections of pix2pix-turbo ({}) or those of \
                 CycleGAN-turbo ({})",
                if one { "both" } else { "neither" },
                listed(names),
                PIX2PIX.join(", "),
                cyclegan.join(", ")
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    };
    let lacking: Vec<&str> = all.iter().copied().filter(|section| !has(section)).collect();
    if lacking.is_empty() {
        return Ok(own);
    }
    Err(bad(format!("sections: got none of {}, expected tensors in all of {}", lacking.join(", "), all.join(", "))))
}

fn pix2pix(weights: &WeightFiles, names: &[&str]) -> Result<(NetworkChanges, NetworkChanges)> {
    let [unet, vae] = PIX2PIX.map(|section| {
        let mut parts = Parts { weights, alpha: Some(PEFT_ALPHA), found: BTreeMap::new(), tensors: BTreeMap::new() };
        in_section(names, section).try_for_each(|(name, key)| parts.add(name, key))?;
        parts.finish()
    });
    Ok((unet?, vae?))
}

fn cyclegan(weights: &WeightFiles, names: &[&str], backward: bool) -> Result<(NetworkChanges, NetworkChanges)> {
    let parts = |alpha| Parts { weights, alpha, found: BTreeMap::new(), tensors: BTreeMap::new() };
    let mut unet = parts(None);
    for section in CYCLEGAN_UNET {
        in_section(names, section).try_for_each(|(name, key)| unet.add(name, key))?;
    }
    let mut vae = parts(Some(PEFT_ALPHA));
    for (section, modules) in CYCLEGAN_VAE {
        for (name, key) in in_section(names, section) {
            if !DIRECTIONS.iter().any(|own| name.starts_with(own)) {
                return Err(bad(format!("tensor {key:?}: got the autoencoder of {name:?}, expected vae or vae_b2a")));
            }
            let own = name.strip_prefix(DIRECTIONS[usize::from(backward)]);
            if let Some(name) = own.filter(|name| modules.iter().any(|module| name.starts_with(module))) {
                vae.add(name, key)?;
            }
        }
    }
    Ok((unet.finish()?, vae.finish()?))
}

/// The tensors of one network, as they are found.
struct Parts<'a> {
    weights: &'a WeightFiles,
    /// The alpha of its LoRAs; `None` if it is their rank.
    alpha: Option<f32>,
    /// The names of the tensors of each LoRA: down and up.
    found: BTreeMap<String, [Option<String>; 2]>,
    tensors: BTreeMap<String, ChangedTensor>,
}

impl Parts<'_> {
    /// Adds the tensor `key` of the file, which is called `name` in its network.
    fn add(&mut self, name: &str, key: &str) -> Result<()> {
        let twice = |other: &str| Err(bad(format!("tensors {other:?} and {key:?}: got two, expected one of them")));
        match layer_of(name) {
            Some((layer, role @ (Role::Down | Role::Up))) => {
                let of_layer = self.found.entry(layer.to_owned()).or_default();
                let other = of_layer[usize::from(role == Role::Up)].replace(key.to_owned());
                other.map_or(Ok(()), |other| twice(&other))
            }
            Some((_, Role::Middle | Role::Alpha)) => {
                Err(bad(format!("tensor {key:?}: got another part of a LoRA, expected lora_A or lora_B")))
            }
            None => {
                let name = name.replacen(BASE_LAYER, ".", 1);
                match self.tensors.insert(name, ChangedTensor::One(key.to_owned())) {
                    None => Ok(()),
                    Some(other) => twice(other.names().next().unwrap_or_default()),
                }
            }
        }
    }

    fn finish(mut self) -> Result<NetworkChanges> {
        self.join_twins()?;
        let layers = self.found.iter().map(|(name, keys)| self.layer(name, keys)).collect::<Result<_>>()?;
        Ok(NetworkChanges { layers, tensors: self.tensors })
    }

    /// Replaces the two first convolutions that are mixed by their mixture.
    fn join_twins(&mut self) -> Result<()> {
        for part in ["weight", "bias"] {
            let [base, trained] = TWINS.map(|twin| format!("{twin}{part}"));
            let twins = match (self.tensors.remove(&base), self.tensors.remove(&trained)) {
                (None, None) => continue,
                (Some(ChangedTensor::One(base)), Some(ChangedTensor::One(trained))) => {
                    ChangedTensor::Twins(base, trained)
                }
                (one, _) => {
                    let (got, lacks) = if one.is_some() { (base, trained) } else { (trained, base) };
                    return Err(bad(format!("tensor {got:?}: got it alone, expected {lacks:?} as well")));
                }
            };
            if self.tensors.insert(format!("conv_in.{part}"), twins).is_some() {
                return Err(bad(format!("tensor conv_in.{part}: got one and two to mix, expected either")));
            }
        }
        Ok(())
    }

    /// Reads the LoRA of one layer.
    fn layer(&self, name: &str, keys: &[Option<String>; 2]) -> Result<LoraLayer> {
        let (down_key, up_key) = match keys {
            [Some(down), Some(up)] => (down, up),
            [one, other] => {
                let key = one.as_ref().or(other.as_ref()).map_or("", String::as_str);
                let lacks = if one.is_some() { "lora_B" } else { "lora_A" };
                return Err(bad(format!("tensor {key:?}: got it alone, expected {lacks} of its layer as well")));
            }
        };
        let read = |key: &str| -> Result<(Vec<f32>, Vec<usize>)> {
            let shape = self.weights.shape(key).unwrap_or_default();
            Ok((self.weights.read(key, &shape)?, shape))
        };
        let ((down, down_shape), (up, up_shape)) = (read(down_key)?, read(up_key)?);
        let misfit = || {
            bad(format!(
                "LoRA of {name}: got {down_key:?} of shape {down_shape:?} and {up_key:?} of shape {up_shape:?}, expected \
                 [rank, in, ...] and [out, rank, ...]"
            ))
        };
        let (shape, rank) = weight_shape(&down_shape, &up_shape).ok_or_else(misfit)?;
        let strength = self.alpha.map_or(1.0, |alpha| alpha / rank as f32);
        let change = LowRank::new(shape, rank, up, down, strength).ok_or_else(misfit)?;
        Ok(LoraLayer { name: name.to_owned(), key: down_key.clone(), change })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(file: &str) -> Vec<u8> {
        let path: std::path::PathBuf =
            [env!("CARGO_MANIFEST_DIR"), "../tests/golden/img2img_turbo", file].iter().collect();
        std::fs::read(path).unwrap()
    }

    fn read(file: &str, backward: bool) -> Img2ImgTurboFile {
        Img2ImgTurboFile::from_bytes(file, golden(file), backward).unwrap()
    }

    fn layer<'a>(changes: &'a NetworkChanges, name: &str) -> &'a LoraLayer {
        changes.layers.iter().find(|layer| layer.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    #[test]
    fn the_layouts_of_published_files_are_read_with_the_names_of_diffusers() {
        let edges = read("edges.pkl", false);
        assert_eq!(edges.layout, TurboLayout::Pix2Pix);
        let one = |key: &str| ChangedTensor::One(key.to_owned());
        assert_eq!(edges.unet.tensors["conv_in.weight"], one("state_dict_unet.conv_in.weight"));
        let skip = one("state_dict_vae.decoder.skip_conv_1.base_layer.weight");
        assert_eq!((edges.vae.tensors.len(), &edges.vae.tensors["decoder.skip_conv_1.weight"]), (4, &skip));
        let down = layer(&edges.unet, "down_blocks.0.downsamplers.0.conv");
        assert_eq!(down.key, "state_dict_unet.down_blocks.0.downsamplers.0.conv.lora_A.default.weight");
        assert_eq!(down.change.shape(), [8, 8, 3, 3]);
        layer(&edges.vae, "decoder.skip_conv_4");
        layer(&edges.vae, "encoder.mid_block.attentions.0.to_out.0");
        let parts = ["conv_in_pretrained", "conv_in_curr"].map(|part| format!("state_dict_unet.conv_in.{part}.bias"));
        let names = &read("sketch.pkl", false).unet.tensors["conv_in.bias"];
        assert_eq!(names.names().collect::<Vec<_>>(), parts);
    }

    #[test]
    fn a_direction_of_cyclegan_turbo_has_an_autoencoder_of_its_own() {
        for (backward, owner) in [(false, "vae"), (true, "vae_b2a")] {
            let file = read("day2night.pkl", backward);
            assert_eq!(file.layout, TurboLayout::CycleGan);
            let one = |key: String| ChangedTensor::One(key);
            let tensors = &file.vae.tensors;
            let encoder = format!("sd_vae_enc.{owner}.encoder.conv_in.base_layer.weight");
            assert_eq!(tensors["encoder.conv_in.weight"], one(encoder));
            let decoder = format!("sd_vae_dec.{owner}.decoder.conv_norm_out.bias");
            assert_eq!(tensors["decoder.conv_norm_out.bias"], one(decoder));
            assert_eq!(tensors["post_quant_conv.weight"], one(format!("sd_vae_dec.{owner}.post_quant_conv.weight")));
            assert_eq!(layer(&file.unet, "conv_in").key, "sd_encoder.conv_in.lora_A.weight");
            assert!(file.unet.tensors.is_empty());
        }
    }

    /// Names and shapes of all changes.
    fn contents(file: &Img2ImgTurboFile) -> impl PartialEq + std::fmt::Debug + use<> {
        let contents = [&file.unet, &file.vae].map(|changes| {
            let layers = changes.layers.iter().map(|layer| (layer.key.clone(), layer.change.shape().to_vec()));
            (layers.collect::<Vec<_>>(), changes.tensors.clone())
        });
        (file.layout, contents)
    }

    #[test]
    fn a_cut_or_changed_file_is_refused_or_changes_numbers_only() {
        let bytes = golden("edges.pkl");
        let whole = contents(&read("edges.pkl", false));
        let mut accepted = 0;
        for at in (0..bytes.len()).step_by(977) {
            let refused = Img2ImgTurboFile::from_bytes("cut", bytes[..at].to_vec(), false).unwrap_err();
            assert!(refused.kind() == ErrorKind::BadModel && refused.to_string().contains("cut"), "{at}: {refused}");
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            match Img2ImgTurboFile::from_bytes("changed", changed, false) {
                Ok(file) => {
                    assert_eq!(contents(&file), whole, "{at}");
                    accepted += 1;
                }
                Err(refused) => {
                    assert!(refused.kind() == ErrorKind::BadModel, "{at}: {refused}");
                    assert!(refused.to_string().contains("changed"), "{at}: {refused}");
                }
            }
        }
        assert!(accepted > 0);
    }
}

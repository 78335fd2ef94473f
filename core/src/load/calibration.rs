//! Calibration files: how the layers of a model are quantized to int8.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::storage::Storage;
use crate::error::{Error, ErrorKind, Result};
use crate::net::WeightSpec;
use crate::net::bytes::{ByteScale, ByteScales};

/// The int8 quantization of a model's UNet and autoencoder, calibrated with frames of the user's; `dreamframe models
/// quantize` writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// The model's name, for display.
    model: String,
    /// The number of frames of the calibration.
    frames: usize,
    unet: NetworkCalibration,
    /// None in files of version 1.
    autoencoder: Option<NetworkCalibration>,
    /// The quality of the pictures, if it was measured.
    quality: Option<Quality>,
}

/// The fields of a file. Those of the UNet are at the top level, as in version 1.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalibrationFile {
    /// The file type and version.
    dreamframe_int8: u32,
    model: String,
    fingerprint: String,
    frames: usize,
    layers: BTreeMap<String, Layer>,
    kept: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    autoencoder: Option<NetworkCalibration>,
    quality: Option<Quality>,
}

/// The quantization of a network's layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkCalibration {
    /// The fingerprint of the names and shapes of the network's weights.
    fingerprint: String,
    /// The layers that are quantized to int8, by the names of their weights.
    layers: BTreeMap<String, Layer>,
    /// The layers that are candidates but not quantized, each with the reason.
    kept: BTreeMap<String, String>,
}

/// A layer in int8.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    /// The scale: the difference between neighbouring bytes of its input.
    scale: f32,
    /// The zero point: the byte of 0.
    zero: u8,
    /// The relative error of the output.
    error: f64,
}

/// Quality of int8 pictures compared with those in `f32`, over a clip.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// The mean structural similarity (SSIM); 1 for equal pictures.
    pub ssim_mean: f64,
    /// The minimum structural similarity.
    pub ssim_worst: f64,
    /// The mean peak signal-to-noise ratio (PSNR), in decibels.
    pub psnr_mean: f64,
    /// The minimum peak signal-to-noise ratio, in decibels.
    pub psnr_worst: f64,
    /// Whether the calibration is used although the quality is below the required minimum.
    pub forced: bool,
}

impl Calibration {
    /// The name of the file in a model's folder.
    pub const FILE: &str = "dreamframe-int8.json";
    /// The file version that is written.
    const VERSION: u32 = 2;
    /// Maximum length of a file, in bytes; one for SDXL has 300 kB.
    const MAX_BYTES: u64 = 8 << 20;

    /// Creates a calibration of the model called `model` from what `frames` frames showed.
    pub(crate) fn new(model: String, frames: usize, unet: NetworkCalibration, autoencoder: NetworkCalibration) -> Self {
        Self { model, frames, unet, autoencoder: Some(autoencoder), quality: None }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Io`; `BadModel` for one that is broken or of another version.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("calibration path: got {}, expected one that ends in a file name", path.display()),
            )
        })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Self::inside(&Storage::Folder(folder), name)
    }

    /// Reads a file of a checkpoint.
    pub(super) fn inside(storage: &Storage, name: &str) -> Result<Self> {
        let text = storage.read_text(name, Self::MAX_BYTES)?;
        Self::parse(&text).map_err(|error| error.within(storage.describe(name)))
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        /// The fields of every version.
        #[derive(Deserialize)]
        struct Head {
            dreamframe_int8: u32,
        }
        let broken = |error: serde_json::Error| {
            Error::new(ErrorKind::BadModel, format!("invalid calibration: {error}")).with_source(error)
        };
        let head: Head = serde_json::from_str(text).map_err(broken)?;
        if !(1..=Self::VERSION).contains(&head.dreamframe_int8) {
            let (found, newest) = (head.dreamframe_int8, Self::VERSION);
            let text =
                format!("calibration version: got {found}, expected 1 to {newest}; create the calibration again");
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        let file: CalibrationFile = serde_json::from_str(text).map_err(broken)?;
        let CalibrationFile { model, fingerprint, frames, layers, kept, autoencoder, quality, .. } = file;
        let unet = NetworkCalibration { fingerprint, layers, kept };
        let calibration = Self { model, frames, unet, autoencoder, quality };
        calibration.networks().try_for_each(NetworkCalibration::check)?;
        Ok(calibration)
    }

    fn networks(&self) -> impl Iterator<Item = &NetworkCalibration> {
        [&self.unet].into_iter().chain(&self.autoencoder)
    }

    /// Returns the text of the file.
    ///
    /// # Errors
    ///
    /// `Internal`.
    pub fn to_json(&self) -> Result<String> {
        let Self { model, frames, unet, autoencoder, quality } = self.clone();
        let NetworkCalibration { fingerprint, layers, kept } = unet;
        let dreamframe_int8 = Self::VERSION;
        let file = CalibrationFile { dreamframe_int8, model, fingerprint, frames, layers, kept, autoencoder, quality };
        serde_json::to_string_pretty(&file).map(|text| text + "\n").map_err(|error| {
            Error::new(ErrorKind::Internal, "failed to write the calibration as JSON").with_source(error)
        })
    }

    /// Returns the calibration with the quality of the pictures.
    #[must_use]
    pub fn with_quality(self, quality: Quality) -> Self {
        Self { quality: Some(quality), ..self }
    }

    /// Returns the quality of the pictures, if it was measured.
    pub fn quality(&self) -> Option<Quality> {
        self.quality
    }

    /// Returns the number of int8 layers, and the number of candidates that are not quantized.
    pub fn layers(&self) -> (usize, usize) {
        let sum = |count: fn(&NetworkCalibration) -> usize| self.networks().map(count).sum();
        (sum(|network| network.layers.len()), sum(|network| network.kept.len()))
    }

    /// Returns the candidates that are not quantized, and why.
    pub fn kept(&self) -> impl Iterator<Item = (&str, &str)> {
        let kept = self.networks().flat_map(|network| &network.kept);
        kept.map(|(name, reason)| (name.as_str(), reason.as_str()))
    }

    /// Returns the int8 layers of the UNet with these weights. `could` are the candidates.
    ///
    /// # Errors
    ///
    /// `BadModel` if it belongs to another model, or its layers are not those of this one.
    pub(crate) fn unet_scales(&self, weights: &[WeightSpec], could: &BTreeSet<String>) -> Result<ByteScales> {
        if !self.unet.fits(weights) {
            let model = &self.model;
            let text = format!(
                "the calibration belongs to another model ({model}): the weights of the UNet have other names or shapes"
            );
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        self.unet.scales(could)
    }

    /// Returns the int8 layers of the autoencoder with these weights; `None` if it is not the calibrated one. `could` are
    /// the candidates.
    ///
    /// # Errors
    ///
    /// `BadModel` if its layers are not those of this one.
    pub(crate) fn autoencoder_scales(
        &self,
        weights: &[WeightSpec],
        could: &BTreeSet<String>,
    ) -> Result<Option<ByteScales>> {
        let own = self.autoencoder.as_ref().filter(|autoencoder| autoencoder.fits(weights));
        own.map(|autoencoder| autoencoder.scales(could)).transpose()
    }
}

impl NetworkCalibration {
    /// Creates one from the observations of the layers of a network with these weights: the quantization and the error of
    /// each, or why it is not quantized.
    pub(crate) fn new(
        weights: &[WeightSpec],
        found: impl IntoIterator<Item = (String, Result<(ByteScale, f64), String>)>,
    ) -> Self {
        let (mut layers, mut kept) = (BTreeMap::new(), BTreeMap::new());
        for (name, found) in found {
            match found {
                Ok((scale, error)) => {
                    layers.insert(name, Layer { scale: scale.scale(), zero: scale.zero(), error });
                }
                Err(reason) => {
                    kept.insert(name, reason);
                }
            }
        }
        Self { fingerprint: fingerprint(weights), layers, kept }
    }

    fn check(&self) -> Result<()> {
        for (name, layer) in &self.layers {
            if ByteScale::new(layer.scale, layer.zero).is_none() {
                let (scale, least, most) = (layer.scale, ByteScale::RANGE.start(), ByteScale::RANGE.end());
                let text = format!("scale of {name}: got {scale:e}, expected {least:e} to {most:e}");
                return Err(Error::new(ErrorKind::BadModel, text));
            }
        }
        Ok(())
    }

    fn fits(&self, weights: &[WeightSpec]) -> bool {
        self.fingerprint == fingerprint(weights)
    }

    fn scales(&self, could: &BTreeSet<String>) -> Result<ByteScales> {
        let bad = |text: String| Err(Error::new(ErrorKind::BadModel, text));
        let named: BTreeSet<&String> = self.layers.keys().chain(self.kept.keys()).collect();
        if let Some(name) = named.iter().find(|&&name| !could.contains(name)) {
            return bad(format!("layer {name:?} does not support int8"));
        }
        if let Some(name) = could.iter().find(|&name| !named.contains(name)) {
            return bad(format!("layer {name:?}: missing"));
        }
        if let Some(name) = self.kept.keys().find(|&name| self.layers.contains_key(name)) {
            return bad(format!("layer {name:?}: got two entries, expected one"));
        }
        let scale = |(name, layer): (&String, &Layer)| Some((name.clone(), ByteScale::new(layer.scale, layer.zero)?));
        Ok(self.layers.iter().filter_map(scale).collect())
    }
}

/// Returns the fingerprint of a network: a hash of the names and shapes of its weights.
fn fingerprint(weights: &[WeightSpec]) -> String {
    let mut lines: Vec<String> = weights.iter().map(|spec| format!("{} {:?}\n", spec.name, spec.shape)).collect();
    lines.sort_unstable();
    let mut hash = Sha256::new();
    lines.iter().for_each(|line| hash.update(line));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Program, ProgramBuilder, Rate, Shape};

    fn program(c: usize) -> Program {
        let mut builder = ProgramBuilder::new("test");
        let x = builder.input("x", Shape::new(1, 8, 8, c), Rate::Frame);
        let x = builder.conv3x3("a", x, 64);
        let x = builder.conv3x3("b", x, 64);
        builder.output("x", x);
        builder.finish().unwrap()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn calibration() -> Calibration {
        let found = [
            ("a.weight".to_owned(), Ok((ByteScale::new(0.25, 7).unwrap(), 0.01))),
            ("b.weight".to_owned(), Err("loses too much".to_owned())),
        ];
        let autoencoder = [("c.weight".to_owned(), Ok((ByteScale::new(0.5, 3).unwrap(), 0.02)))];
        let network = |c, found: &[_]| NetworkCalibration::new(program(c).weights(), found.iter().cloned());
        Calibration::new("made up".into(), 3, network(64, &found), network(96, &autoencoder))
    }

    #[test]
    fn frames_round_trip_through_writers() {
        let quality = Quality { ssim_mean: 0.98, ssim_worst: 0.97, psnr_mean: 35.0, psnr_worst: 33.5, forced: false };
        let written = calibration().with_quality(quality);
        let read = Calibration::parse(&written.to_json().unwrap()).unwrap();
        assert_eq!(read, written);
        let scales = read.unet_scales(program(64).weights(), &names(&["a.weight", "b.weight"])).unwrap();
        assert_eq!(scales.get("a.weight"), ByteScale::new(0.25, 7));
        assert_eq!(scales.get("b.weight"), None);
        let of_autoencoder = |c| read.autoencoder_scales(program(c).weights(), &names(&["c.weight"])).unwrap();
        assert_eq!(of_autoencoder(96).unwrap().get("c.weight"), ByteScale::new(0.5, 3));
        assert_eq!(of_autoencoder(32), None);
    }

    #[test]
    fn files_of_version_1_have_the_unet_alone() {
        let old = Calibration { autoencoder: None, ..calibration() };
        let text = old.to_json().unwrap().replace("\"dreamframe_int8\": 2", "\"dreamframe_int8\": 1");
        assert!(!text.contains("autoencoder"));
        assert_eq!(Calibration::parse(&text).unwrap(), old);
    }

    #[test]
    fn a_broken_file_is_refused_with_the_reason() {
        let text = calibration().to_json().unwrap();
        for (from, to, part) in [
            ("\"dreamframe_int8\": 2", "\"dreamframe_int8\": 3", "calibration version: got 3"),
            ("\"scale\": 0.5", "\"scale\": -0.5", "-5e-1"),
            ("\"scale\": 0.25", "\"scale\": -0.25", "-2.5e-1"),
            ("\"scale\": 0.25", "\"scale\": 0", "0e0"),
            ("\"scale\": 0.25", "\"scale\": NaN", "line"),
            ("\"scale\": 0.25", "\"scale\": 1e300", "out of range"),
            ("\"zero\": 7", "\"zero\": 256", "256"),
            ("\"zero\": 7", "\"zeros\": 7", "zeros"),
            ("\"frames\"", "\"pictures\"", "pictures"),
        ] {
            let wrong = text.replace(from, to);
            assert_ne!(wrong, text, "{from}");
            let refused = Calibration::parse(&wrong).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::BadModel);
            assert!(refused.to_string().contains(part), "{to}: {refused}");
        }
        for cut in 0..text.trim_end().len() {
            assert_eq!(Calibration::parse(&text[..cut]).unwrap_err().kind(), ErrorKind::BadModel, "{cut}");
        }
    }

    #[test]
    fn layers_that_are_not_the_models_are_refused_by_name() {
        let calibration = calibration();
        let refusal = |unet: &Program, could: &[&str]| {
            let refused = calibration.unet_scales(unet.weights(), &names(could)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::BadModel);
            refused.to_string()
        };
        assert!(refusal(&program(32), &["a.weight", "b.weight"]).contains("another model (made up)"));
        assert!(refusal(&program(64), &["a.weight"]).contains("\"b.weight\" does not support int8"));
        assert!(refusal(&program(64), &["a.weight", "b.weight", "c.weight"]).contains("layer \"c.weight\": missing"));
    }

    #[test]
    fn a_file_that_is_not_there_is_not_found() {
        assert_eq!(Calibration::read(Path::new("no/such/file")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(Calibration::read(Path::new("/")).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

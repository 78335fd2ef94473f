//! Calibration files: how the layers of a model are quantized to int8.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::storage::Storage;
use crate::error::{Error, ErrorKind, Result};
use crate::net::bytes::{ByteScale, ByteScales};
use crate::net::{Program, WeightSpec};

/// The int8 quantization of a model's UNet, calibrated with frames of the user's; `dreamframe models quantize` writes
/// it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The file type and version.
    dreamframe_int8: u32,
    /// The model's name, for display.
    model: String,
    /// The fingerprint of the names and shapes of the UNet's weights.
    fingerprint: String,
    /// The number of frames of the calibration.
    frames: usize,
    /// The layers that are quantized to int8, by the names of their weights.
    layers: BTreeMap<String, Layer>,
    /// The layers that are candidates but not quantized, each with the reason.
    kept: BTreeMap<String, String>,
    /// The quality of the pictures, if it was measured.
    quality: Option<Quality>,
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
    /// The file version that is written and read.
    const VERSION: u32 = 1;
    /// Maximum length of a file, in bytes; one for SDXL has 300 kB.
    const MAX_BYTES: u64 = 8 << 20;

    /// Creates a calibration from the observations of the layers of `unet`: the quantization and the error of each, or
    /// why it is not quantized.
    pub(crate) fn new(
        model: String,
        unet: &[WeightSpec],
        frames: usize,
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
        let fingerprint = fingerprint(unet);
        Self { dreamframe_int8: Self::VERSION, model, fingerprint, frames, layers, kept, quality: None }
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

    fn parse(text: &str) -> Result<Self> {
        /// The fields of every version.
        #[derive(Deserialize)]
        struct Head {
            dreamframe_int8: u32,
        }
        let broken = |error: serde_json::Error| {
            Error::new(ErrorKind::BadModel, format!("invalid calibration: {error}")).with_source(error)
        };
        let head: Head = serde_json::from_str(text).map_err(broken)?;
        if head.dreamframe_int8 != Self::VERSION {
            let (found, own) = (head.dreamframe_int8, Self::VERSION);
            let text = format!("calibration version: got {found}, expected {own}; create the calibration again");
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        let calibration: Self = serde_json::from_str(text).map_err(broken)?;
        for (name, layer) in &calibration.layers {
            if ByteScale::new(layer.scale, layer.zero).is_none() {
                let (scale, least, most) = (layer.scale, ByteScale::RANGE.start(), ByteScale::RANGE.end());
                let text = format!("scale of {name}: got {scale:e}, expected {least:e} to {most:e}");
                return Err(Error::new(ErrorKind::BadModel, text));
            }
        }
        Ok(calibration)
    }

    /// Returns the text of the file.
    ///
    /// # Errors
    ///
    /// `Internal`.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(|error| {
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
        (self.layers.len(), self.kept.len())
    }

    /// Returns the candidates that are not quantized, and why.
    pub fn kept(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kept.iter().map(|(name, reason)| (name.as_str(), reason.as_str()))
    }

    /// Returns the int8 layers of `unet`. `could` are the candidates.
    ///
    /// # Errors
    ///
    /// `BadModel` if it belongs to another model, or its layers are not those of this one.
    pub(crate) fn scales(&self, unet: &Program, could: &BTreeSet<String>) -> Result<ByteScales> {
        let bad = |text: String| Err(Error::new(ErrorKind::BadModel, text));
        if self.fingerprint != fingerprint(unet.weights()) {
            let model = &self.model;
            return bad(format!(
                "the calibration belongs to another model ({model}): the weights of the UNet have other names or shapes"
            ));
        }
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

/// Returns the fingerprint of a model: a hash of the names and shapes of its weights.
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
    use crate::net::{ProgramBuilder, Rate, Shape};

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
        Calibration::new("made up".into(), program(64).weights(), 3, found)
    }

    #[test]
    fn frames_round_trip_through_writers() {
        let quality = Quality { ssim_mean: 0.98, ssim_worst: 0.97, psnr_mean: 35.0, psnr_worst: 33.5, forced: false };
        let written = calibration().with_quality(quality);
        let read = Calibration::parse(&written.to_json().unwrap()).unwrap();
        assert_eq!(read, written);
        let scales = read.scales(&program(64), &names(&["a.weight", "b.weight"])).unwrap();
        assert_eq!(scales.get("a.weight"), ByteScale::new(0.25, 7));
        assert_eq!(scales.get("b.weight"), None);
    }

    #[test]
    fn a_broken_file_is_refused_with_the_reason() {
        let text = calibration().to_json().unwrap();
        for (from, to, part) in [
            ("\"dreamframe_int8\": 1", "\"dreamframe_int8\": 2", "calibration version: got 2"),
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
            let refused = calibration.scales(unet, &names(could)).unwrap_err();
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

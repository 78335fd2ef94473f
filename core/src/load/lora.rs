//! LoRA files of all trainers: the changed layers, and their factors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::bytes::Bytes;
use super::lora_alpha::Alphas;
use super::lora_keys::{Role, layer_of, refuse_other_methods};
use super::storage::Storage;
use super::weight_names::{SAFETENSORS, existing, is_weights, preferred};
use super::weights::{WeightFiles, listed};
use crate::error::{Error, ErrorKind, Result};
use crate::net::{LoraLayer, LowRank, WeightSource, elements};

/// Names of the file in a folder, the most specific first.
pub(super) const NAMES: [&str; 4] = [
    "pytorch_lora_weights.safetensors",
    "adapter_model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "lora.safetensors",
];
/// PEFT's file of weights without its ending, and its config.
const PEFT: [&str; 2] = ["adapter_model", "adapter_config.json"];
/// Largest kernel that is composed of three factors, in taps.
const MAX_TAPS: usize = 25;
/// Maximum length of a config, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// The contents of a LoRA file, by the names that its trainer gave the layers.
#[derive(Debug)]
pub struct LoraFile {
    /// Its path.
    pub path: String,
    /// The changed layers.
    pub layers: Vec<LoraLayer>,
    /// Tensors that belong to no layer, sorted.
    pub unknown: Vec<String>,
    /// A notice if the file is pickled.
    pub notice: Option<String>,
}

/// The names of a layer's tensors.
#[derive(Debug, Default)]
struct Keys {
    down: Option<String>,
    middle: Option<String>,
    up: Option<String>,
    alpha: Option<String>,
}

impl LoraFile {
    /// Reads a LoRA: a `.safetensors` or pickled file, or a folder that has one.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none, `BadModel` naming the tensor and what is wrong with it, `Unsupported` for
    /// other methods than LoRA, and for pickled files with more than tensors.
    pub fn read(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { file_in(path)? } else { path.to_owned() };
        let name = file.display().to_string();
        let weights = WeightFiles::single(name.clone(), Bytes::open(&file)?)?;
        let [own, config] = PEFT;
        let alphas = match file.parent().filter(|folder| {
            file.file_stem().is_some_and(|stem| stem == own) && is_weights(&file) && folder.join(config).is_file()
        }) {
            Some(folder) => Alphas::of_config(&Storage::Folder(folder.to_owned()).read_text(config, MAX_CONFIG)?),
            None => Alphas::of_header(&weights.metadata()?),
        };
        let alphas = alphas.map_err(|error| error.within(&name))?;
        Reader { path: &name, weights: &weights, alphas }.read()
    }

    /// Reads a LoRA that is built in, under the first of its usual names.
    pub(super) fn built_in(storage: &Storage) -> Result<Self> {
        let [file, ..] = NAMES;
        let name = storage.describe(file);
        let weights = WeightFiles::single(name.clone(), storage.open(file)?)?;
        let alphas = Alphas::of_header(&weights.metadata()?).map_err(|error| error.within(&name))?;
        Reader { path: &name, weights: &weights, alphas }.read()
    }

    /// Reads a LoRA in memory; `name` is its name in messages.
    ///
    /// # Errors
    ///
    /// Like [`read`](Self::read).
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let weights = WeightFiles::from_bytes(name, bytes)?;
        let alphas = Alphas::of_header(&weights.metadata()?).map_err(|error| error.within(name))?;
        Reader { path: name, weights: &weights, alphas }.read()
    }
}

/// The source of layers.
struct Reader<'a> {
    path: &'a str,
    weights: &'a WeightFiles,
    alphas: Alphas,
}

impl Reader<'_> {
    fn bad(&self, text: String) -> Error {
        Error::new(ErrorKind::BadModel, text).within(self.path)
    }

    fn misfit(&self, parts: &[(&String, &Vec<usize>)]) -> Error {
        let parts: Vec<String> = parts.iter().map(|(key, shape)| format!("{key:?} of shape {shape:?}")).collect();
        self.bad(format!("tensors {} do not form one layer", parts.join(" and ")))
    }

    fn read(&self) -> Result<LoraFile> {
        let mut keys: Vec<&str> = self.weights.names().collect();
        keys.sort_unstable();
        refuse_other_methods(&keys).map_err(|error| error.within(self.path))?;
        let mut found: BTreeMap<&str, Keys> = BTreeMap::new();
        let mut unknown = Vec::new();
        for key in keys {
            let Some((layer, role)) = layer_of(key) else {
                unknown.push(key.to_owned());
                continue;
            };
            let keys = found.entry(layer).or_default();
            let place = match role {
                Role::Down => &mut keys.down,
                Role::Middle => &mut keys.middle,
                Role::Up => &mut keys.up,
                Role::Alpha => &mut keys.alpha,
            };
            if let Some(other) = place.replace(key.to_owned()) {
                return Err(self.bad(format!("tensors {other:?} and {key:?} are the same part of one layer")));
            }
        }
        let mut layers = Vec::new();
        for (name, keys) in found {
            match self.layer(name, &keys)? {
                Some(layer) => layers.push(layer),
                None => unknown.extend(keys.alpha),
            }
        }
        unknown.sort_unstable();
        if layers.is_empty() {
            let text = format!(
                "LoRA layers: got none and {} other tensors ({}), expected at least one",
                unknown.len(),
                listed(&unknown)
            );
            return Err(self.bad(text));
        }
        Ok(LoraFile { path: self.path.to_owned(), layers, unknown, notice: self.weights.notice() })
    }

    fn tensor(&self, key: &str) -> Result<(Vec<f32>, Vec<usize>)> {
        let shape = self.weights.shape(key).unwrap_or_default();
        Ok((self.weights.read(key, &shape)?, shape))
    }

    /// Reads one layer; `None` if there is only an alpha.
    fn layer(&self, name: &str, keys: &Keys) -> Result<Option<LoraLayer>> {
        let (down_key, up_key) = match (&keys.down, &keys.up) {
            (Some(down), Some(up)) => (down, up),
            (None, None) if keys.middle.is_none() => return Ok(None),
            (down, up) => {
                let there = down.as_ref().or(up.as_ref()).or(keys.middle.as_ref()).map_or("", String::as_str);
                let lacks = if down.is_none() { "its down tensor" } else { "its up tensor" };
                return Err(self.bad(format!("tensor {there:?} lacks {lacks}")));
            }
        };
        let ((mut down, mut down_shape), (up, up_shape)) = (self.tensor(down_key)?, self.tensor(up_key)?);
        if let Some(key) = &keys.middle {
            let (middle, shape) = self.tensor(key)?;
            let misfit = || self.misfit(&[(down_key, &down_shape), (key, &shape), (up_key, &up_shape)]);
            (down, down_shape) = through(&middle, &shape, &down, &down_shape)?.ok_or_else(misfit)?;
        }
        let misfit = || self.misfit(&[(down_key, &down_shape), (up_key, &up_shape)]);
        let (shape, rank) = weight_shape(&down_shape, &up_shape).ok_or_else(misfit)?;
        let strength = match &keys.alpha {
            Some(key) => match self.tensor(key)? {
                (alpha, _) if alpha.len() == 1 => alpha.iter().sum::<f32>() / rank as f32,
                (_, shape) => {
                    return Err(self.bad(format!("tensor {key:?}: got shape {shape:?}, expected one element")));
                }
            },
            None => self.alphas.strength(name, rank) as f32,
        };
        let change = LowRank::new(shape, rank, up, down, strength).ok_or_else(misfit)?;
        Ok(Some(LoraLayer { name: name.to_owned(), key: down_key.clone(), change }))
    }
}

/// Returns the shape of the weight that factors of these shapes change, and their rank: `down` is `[rank, in, …]`,
/// `up` is `[out, rank]` or the same as a 1x1 convolution.
pub(super) fn weight_shape(down: &[usize], up: &[usize]) -> Option<(Vec<usize>, usize)> {
    let (&[rank, ref rest @ ..], &[out, up_rank, ref ones @ ..]) = (down, up) else { return None };
    let fits = rank > 0 && rank == up_rank && !rest.is_empty() && ones.iter().all(|&one| one == 1);
    fits.then(|| ([&[out], rest].concat(), rank))
}

/// Returns a convolution `middle`, `[rank, rank, side, side]`, after a 1x1 one `down`, `[rank, in]`, as one: `[rank,
/// in, side, side]`.
fn through(
    middle: &[f32],
    middle_shape: &[usize],
    down: &[f32],
    down_shape: &[usize],
) -> Result<Option<(Vec<f32>, Vec<usize>)>> {
    let &[rank, inner, height, width] = middle_shape else { return Ok(None) };
    let &[down_inner, channels, ref ones @ ..] = down_shape else { return Ok(None) };
    let taps = height.checked_mul(width).filter(|taps| (1..=MAX_TAPS).contains(taps));
    let len = taps.and_then(|taps| rank.checked_mul(channels)?.checked_mul(taps));
    let (Some(taps), Some(len)) = (taps, len) else { return Ok(None) };
    // As many output as input channels: otherwise a small file could require much memory.
    if rank != inner || inner != down_inner || rank == 0 || channels == 0 || ones.iter().any(|&one| one != 1) {
        return Ok(None);
    }
    let mut whole = elements::zeros(len)?;
    for (whole, middle) in whole.chunks_exact_mut(channels * taps).zip(middle.chunks_exact(inner * taps)) {
        for (taps_of, down) in middle.chunks_exact(taps).zip(down.chunks_exact(channels)) {
            for (whole, &x) in whole.chunks_exact_mut(taps).zip(down) {
                whole.iter_mut().zip(taps_of).for_each(|(sum, tap)| *sum += tap * x);
            }
        }
    }
    Ok(Some((whole, vec![rank, channels, height, width])))
}

/// Returns the LoRA's file in a folder: one with a known name, or the only one there is.
fn file_in(folder: &Path) -> Result<PathBuf> {
    let known = |find: &dyn Fn(&Path) -> Option<PathBuf>| NAMES.iter().find_map(|name| find(&folder.join(name)));
    if let Some(known) = known(&|path| path.is_file().then(|| path.to_owned())) {
        return Ok(known);
    }
    let all = Storage::Folder(folder.to_owned()).list("");
    let files = preferred(all.iter().map(PathBuf::from).collect());
    let has_safetensors = files.iter().any(|file| file.extension().is_some_and(|ending| ending == SAFETENSORS));
    if !has_safetensors && let Some(known) = known(&existing) {
        return Ok(known);
    }
    let shown = folder.display();
    match files.as_slice() {
        [only] => Ok(folder.join(only)),
        [] => Err(Error::new(ErrorKind::NotFound, format!("no LoRA in {shown}: tried {}", NAMES.join(", ")))),
        several => {
            let names: Vec<String> = several.iter().map(|file| file.display().to_string()).collect();
            let text =
                format!("LoRA file in {shown}: got several, expected one; add its name to the id: {}", listed(&names));
            Err(Error::new(ErrorKind::BadModel, text))
        }
    }
}

//! Options that are fixed when an engine is built, unlike its parameters.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::exec::{Dtype, Provider};
use crate::frame::{Fit, PixelFormat};
use crate::load::{Calibration, PackedCache};
use crate::setters::setters;
use crate::stream::noise::Generator;

/// Options of an engine, fixed when it is built.
///
/// ```
/// use dreamframe::{Dtype, Engine, EngineOptions, PixelFormat};
///
/// # fn main() -> dreamframe::Result<()> {
/// let options = EngineOptions::default().with_dtype(Dtype::F32).with_output(PixelFormat::Rgb8);
/// let engine = Engine::builder().options(options).build()?;
/// assert_eq!(engine.options().dtype, Dtype::F32);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EngineOptions {
    /// The executor of networks. [`Engine::options`](super::Engine::options) returns the chosen one.
    pub executor: ExecutorKind,
    /// Options of the executor [`Onnx`](ExecutorKind::Onnx).
    pub onnx: OnnxOptions,
    /// The number format of weights and activations. [`Engine::options`](super::Engine::options) returns the chosen
    /// one.
    pub dtype: Dtype,
    /// The random number generator for noise.
    pub noise: Generator,
    /// Threads of the CPU executor; `None` for as many as the machine has.
    pub threads: Option<usize>,
    /// How a frame of another aspect ratio is fitted to the stream's size.
    pub fit: Fit,
    /// The pixel format of the pictures that [`Engine::process`](super::Engine::process) returns.
    pub output: PixelFormat,
    /// The autoencoder.
    pub vae: Vae,
    /// The id of a folder with an IP-Adapter to use instead of the published one for the model, from the same source as
    /// models: one `.safetensors` file, and the folder `image_encoder`.
    pub ip_adapter: Option<String>,
    /// What replaces pictures that the safety checker flags.
    pub flagged: Flagged,
    /// Where packed weights are stored for later starts.
    pub packed_cache: PackedCache,
    /// Which frame's control image each row of the stream uses.
    pub control_images: ControlImages,
    /// The calibration for [`Dtype::Int8`]; `None` for the file in the model's folder.
    pub calibration: Option<Arc<Calibration>>,
    /// How LoRAs change the UNet.
    pub lora_mode: LoraMode,
    /// Whether `use_denoising_batch` is followed on devices where it only delays pictures.
    pub batching: Batching,
    /// Whether engines of a process with the same model and size run the UNet together.
    pub batch_streams: BatchStreams,
    /// With `batch_streams`, the longest time that a frame waits for those of other engines. It waits at most a quarter
    /// of the interval between frames in any case.
    pub batch_wait: Duration,
    /// Whether the autoencoder computes only what depends on changed pixels of the frame or of the latent.
    pub region_reuse: RegionReuse,
    /// With [`RegionReuse::Approximate`], the mean difference of the pixels of a block up to which it counts as unchanged,
    /// in levels of 0 to 255. Default: 4.
    pub region_threshold: f32,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            executor: ExecutorKind::Cpu,
            onnx: OnnxOptions::default(),
            dtype: Dtype::Auto,
            noise: Generator::Philox,
            threads: None,
            fit: Fit::Cover,
            output: PixelFormat::Rgba8,
            vae: Vae::Auto,
            ip_adapter: None,
            flagged: Flagged::Previous,
            packed_cache: PackedCache::Beside,
            control_images: ControlImages::Newest,
            calibration: None,
            lora_mode: LoraMode::Auto,
            batching: Batching::AsRequested,
            batch_streams: BatchStreams::Off,
            batch_wait: Duration::from_millis(10),
            region_reuse: RegionReuse::Off,
            region_threshold: 4.0,
        }
    }
}

setters! {
    EngineOptions:
    with_executor, executor: ExecutorKind;
    with_onnx, onnx: OnnxOptions;
    with_dtype, dtype: Dtype;
    with_noise, noise: Generator;
    with_threads, threads: Option<usize>;
    with_fit, fit: Fit;
    with_output, output: PixelFormat;
    with_vae, vae: Vae;
    with_ip_adapter, ip_adapter: Option<String>;
    with_flagged, flagged: Flagged;
    with_packed_cache, packed_cache: PackedCache;
    with_control_images, control_images: ControlImages;
    with_calibration, calibration: Option<Arc<Calibration>>;
    with_lora_mode, lora_mode: LoraMode;
    with_batching, batching: Batching;
    with_batch_streams, batch_streams: BatchStreams;
    with_batch_wait, batch_wait: Duration;
    with_region_reuse, region_reuse: RegionReuse;
    with_region_threshold, region_threshold: f32;
}

/// The executor of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExecutorKind {
    /// [`Onnx`](Self::Onnx) if ONNX Runtime is installed and has a provider of a GPU that works, otherwise
    /// [`Cpu`](Self::Cpu).
    Auto,
    /// This crate's own kernels, on the processor.
    Cpu,
    /// ONNX Runtime, a library that is loaded at run time, with the provider in [`OnnxOptions`]. Needs the feature
    /// `onnx`.
    Onnx,
    /// candle, one operation at a time: the slow reference.
    Reference,
}

/// Options of the executor [`Onnx`](ExecutorKind::Onnx).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnnxOptions {
    /// The execution provider. [`Engine::options`](super::Engine::options) returns the chosen one.
    pub provider: Provider,
    /// The index of the device among those of the provider.
    pub device_index: u32,
    /// ONNX Runtime's library, version 1.24 or newer, or a folder with it: an unpacked release, or the Python package
    /// `onnxruntime`. By default the environment variable `DREAMFRAME_ONNXRUNTIME` names it, or it is in the folder of
    /// `dreamframe gpu install`. A process loads one library only.
    pub library: Option<PathBuf>,
    /// Whether runs of networks are captured as CUDA graphs, which takes less time of the processor for each frame, and
    /// more memory of the device. For the providers `cuda`, `tensorrt` and `tensorrt-rtx`; others are then an error,
    /// and [`Provider::Auto`] does not select them. On an NVIDIA H200, a frame took 0.88 of the time without.
    pub cuda_graphs: bool,
}

setters! {
    OnnxOptions:
    with_provider, provider: Provider;
    with_device_index, device_index: u32;
    with_library, library: Option<PathBuf>;
    with_cuda_graphs, cuda_graphs: bool;
}

/// The autoencoder of a model.
///
/// ```
/// use dreamframe::Vae;
///
/// assert_eq!(Vae::from("tiny"), Vae::Tiny);
/// assert_eq!(Vae::from("madebyollin/taesdxl"), Vae::Id("madebyollin/taesdxl".into()));
/// assert_eq!(Vae::from("./taesd"), Vae::Folder("./taesd".into()));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Vae {
    /// [`Tiny`](Self::Tiny) if it is installed, otherwise the model's own.
    #[default]
    Auto,
    /// The published tiny autoencoder for the model's family: `madebyollin/taesd`, or `madebyollin/taesdxl` for SDXL.
    /// It takes a small fraction of the time of the full one, and loses some detail.
    Tiny,
    /// The model's own: for most models the full one.
    Full,
    /// The one with this id, from the same source as models.
    Id(String),
    /// The one in this folder.
    Folder(PathBuf),
}

impl From<&str> for Vae {
    /// Returns the choice for `auto`, `tiny` or `full`; a folder for an absolute path, or one that starts with `./` or
    /// `../`; otherwise an id.
    fn from(text: &str) -> Self {
        let path = Path::new(text);
        match text {
            "auto" => Self::Auto,
            "tiny" => Self::Tiny,
            "full" => Self::Full,
            _ if path.is_absolute() || path.starts_with(".") || path.starts_with("..") => Self::Folder(path.into()),
            _ => Self::Id(text.to_owned()),
        }
    }
}

/// The control image of each row of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ControlImages {
    /// The newest frame's in every row, although the rows are of earlier frames: as in the reference implementation.
    Newest,
    /// That of the row's own frame: outlines match the objects in fast motion, at the cost of the memory of one
    /// embedded image per row.
    PerRow,
}

/// How the LoRAs of `lora_dict` change the UNet. Text encoders are always changed by merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoraMode {
    /// [`Live`](Self::Live) for those that, by the executor's estimate, make a frame at most 5 % longer together, those
    /// of the lowest cost first; [`Merged`](Self::Merged) for the others.
    Auto,
    /// Merged into the weights: frames take as long as without LoRAs, and a change of a scale prepares new weights.
    Merged,
    /// The LoRAs of `lora_dict` are computed next to the layers that they change: a change of a scale costs as much as
    /// one of the prompt, and each frame takes longer. Layers in int8 stay in int8. The LCM-LoRA of `use_lcm_lora`,
    /// whose scale does not change, is merged.
    Live,
}

/// When the denoising steps of successive frames are computed in one batch.
///
/// A batch delays pictures: with three steps, a picture is made two frames after its own. In return, a GPU computes
/// three rows in little more time than one. A CPU does not.
///
/// ```
/// use dreamframe::{Batching, Engine, EngineOptions, StreamDiffusionParams};
///
/// # fn main() -> dreamframe::Result<()> {
/// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
/// assert!(params.use_denoising_batch && params.t_index_list.len() == 2);
/// let delay = |batching| {
///     let options = EngineOptions::default().with_batching(batching);
///     Ok::<_, dreamframe::Error>(Engine::builder().params(params.clone()).options(options).build()?.delay())
/// };
/// assert_eq!(delay(Batching::AsRequested)?, 1);
/// // The engine runs on the CPU.
/// assert_eq!(delay(Batching::WhereFaster)?, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Batching {
    /// If the parameters have `use_denoising_batch`.
    AsRequested,
    /// If the parameters have `use_denoising_batch`, and the device computes a batch in less time than its rows one
    /// after the other. On a CPU, a frame therefore passes through all steps at once.
    WhereFaster,
}

/// Whether engines of a process run the UNet together, if they have the same model, size and number of rows.
///
/// Their frames are then in one batch, which a GPU computes in less time than one after the other. The frame of an
/// engine waits for those of others at most [`batch_wait`](EngineOptions::batch_wait), and only if they are expected in
/// that time: the engines must run on different threads. An engine by itself never waits. On the CPU, pictures are the
/// same bytes.
///
/// Frames run alone with ControlNets, cached attention or feature reuse, if LoRAs or img2img-turbo change the UNet, and
/// until what depends on the prompts of all engines is computed, in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BatchStreams {
    /// Never.
    Off,
    /// On every device.
    On,
    /// If the device computes a batch in less time than its rows one after the other; not on a CPU.
    Auto,
}

/// The replacement of a picture that the safety checker flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flagged {
    /// The last picture that was not flagged; black, if there is none.
    Previous,
    /// Black.
    Black,
}

/// Whether the autoencoder computes only what depends on changed pixels: its encoder for the rectangle around all blocks
/// of 8x8 pixels of the frame (of the autoencoder's scale) that differ from those that were encoded last, its decoder for the
/// rectangle around all changed pixels of the latent. Memory for all of the autoencoder's values is kept between frames.
///
/// It needs the executor `cpu` and an autoencoder without norms over the image, such as the tiny one; others compute
/// everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RegionReuse {
    /// Everything is computed.
    #[default]
    Off,
    /// Blocks are unchanged if all their values are equal. Pictures have the same bytes as without it.
    Exact,
    /// Blocks are unchanged if the mean difference of their values is at most
    /// [`region_threshold`](EngineOptions::region_threshold), and the largest at most eight times that. The values that were
    /// used last stand in for theirs, so that differences do not add up over frames.
    Approximate,
}

/// Defines the names of an enum's values, in both directions.
macro_rules! named {
    ($type:ident, $what:literal, $($variant:ident = $name:literal),+) => {
        impl $type {
            /// Returns its name on the command line and in reports.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(Error::new(
                        ErrorKind::InvalidArgument,
                        format!(concat!($what, ": got {:?}, expected one of {}"), text, [$($name),+].join(", ")),
                    )),
                }
            }
        }
    };
}

named!(LoraMode, "lora_mode", Auto = "auto", Merged = "merged", Live = "live");
named!(Batching, "batching", AsRequested = "as-requested", WhereFaster = "where-faster");
named!(BatchStreams, "batch_streams", Off = "off", On = "on", Auto = "auto");
named!(RegionReuse, "region_reuse", Off = "off", Exact = "exact", Approximate = "approximate");
named!(ExecutorKind, "executor", Auto = "auto", Cpu = "cpu", Onnx = "onnx", Reference = "reference");
named!(
    Provider,
    "provider",
    Auto = "auto",
    TensorRtRtx = "tensorrt-rtx",
    Cuda = "cuda",
    TensorRt = "tensorrt",
    CoreMl = "coreml",
    MiGraphX = "migraphx",
    DirectMl = "directml",
    WebGpu = "webgpu",
    OpenVino = "openvino",
    Cpu = "cpu"
);
named!(ControlImages, "control_images", Newest = "newest", PerRow = "per-row");
named!(Flagged, "flagged", Previous = "previous", Black = "black");
named!(Dtype, "dtype", Auto = "auto", F32 = "f32", F16 = "f16", Bf16 = "bf16", Int8 = "int8");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_refused_with_the_list() {
        assert_eq!("reference".parse::<ExecutorKind>().unwrap(), ExecutorKind::Reference);
        let refused = "f64".parse::<Dtype>().unwrap_err();
        assert_eq!(refused.to_string(), "dtype: got \"f64\", expected one of auto, f32, f16, bf16, int8");
    }
}

//! Arguments that several commands share, and the files that they name.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use dreamframe::frame::Fit;
use dreamframe::load::Calibration;
use dreamframe::params::{MAX_JSON_BYTES, Notice, StreamDiffusionParams};
use dreamframe::transport::IngestOptions;
use dreamframe::{
    BatchStreams, Batching, Dtype, Engine, EngineOptions, Error, ErrorKind, ExecutorKind, Generator, LoraMode,
    OnnxOptions, PackedCache, Provider, RegionReuse, Result, Vae,
};

use super::machine;

/// Reads a text file of at most `max` bytes.
///
/// # Errors
///
/// `NotFound`, `Io`; `InvalidArgument` for a file that is longer, or no UTF-8.
pub(crate) fn read_text(path: &Path, max: u64) -> Result<String> {
    let file = File::open(path).map_err(|error| Error::io(path, "open", error))?;
    let mut bytes = Vec::new();
    // One byte more than allowed shows that there is more, whatever length a pipe or device reports.
    file.take(max + 1).read_to_end(&mut bytes).map_err(|error| Error::io(path, "read", error))?;
    if bytes.len() as u64 > max {
        let text = format!("{}: got more than {max} bytes, expected at most {max}", path.display());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    String::from_utf8(bytes).map_err(|error| {
        Error::new(ErrorKind::InvalidArgument, format!("{}: not UTF-8", path.display())).with_source(error)
    })
}

/// Reads the parameters at `path` onto `base`, with their notices.
///
/// # Errors
///
/// Those of [`read_text`]; `InvalidParams` with every violation.
pub(crate) fn read_params(path: &Path, base: &StreamDiffusionParams) -> Result<(StreamDiffusionParams, Vec<Notice>)> {
    base.patched(&read_text(path, MAX_JSON_BYTES as u64)?)
}

/// The limit of video size.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct VideoArgs {
    /// The longest side of H.264 video in pixels, from 16 to 4096
    #[arg(long, value_name = "PIXELS", default_value_t = IngestOptions::default().max_side,
        value_parser = clap::value_parser!(u32).range(16..=4096))]
    pub(super) max_video_side: u32,
}

/// Options of the engine.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Engine")]
pub(super) struct EngineArgs {
    /// The executor of networks: auto (onnx if a GPU works with it, else cpu), cpu, onnx (ONNX Runtime, which
    /// `dreamframe gpu install` installs), or the slow reference
    #[arg(long, value_name = "NAME", default_value_t = ExecutorKind::Auto)]
    executor: ExecutorKind,
    /// The execution provider of ONNX Runtime: auto (the first that works), or one that `dreamframe gpu` lists
    #[arg(long, value_name = "NAME", default_value_t)]
    provider: Provider,
    /// The index of the GPU among those of the provider
    #[arg(long, value_name = "N", default_value_t = 0)]
    device: u32,
    /// ONNX Runtime's library, or a folder with it [default: DREAMFRAME_ONNXRUNTIME, or what `dreamframe gpu install`
    /// installed]
    #[arg(long, value_name = "PATH")]
    onnxruntime: Option<PathBuf>,
    /// Capture runs of networks as CUDA graphs: less time of the processor for each frame, more memory of the GPU; for
    /// providers of NVIDIA
    #[arg(long)]
    cuda_graphs: bool,
    /// The number format: auto (on the CPU bf16 if the processor multiplies it, else f32; on GPUs f16), f32, f16
    /// (onnx), bf16 (cpu), or int8 (cpu; `dreamframe models quantize` prepares a model for it)
    #[arg(long, value_name = "NAME", default_value_t = EngineOptions::default().dtype)]
    dtype: Dtype,
    /// The autoencoder: auto (tiny if it is installed, otherwise full), tiny, full (the model's own), the id of
    /// another, or a folder, such as ./taesd
    #[arg(long, value_name = "NAME", default_value = "auto")]
    vae: String,
    /// For int8, a file of `dreamframe models quantize` instead of the one next to the model
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// How LoRAs change the UNet: merged (into the weights), live (next to them: a change of a scale is cheap, frames
    /// take longer), or auto (live for those that make frames at most 5 % longer)
    #[arg(long, value_name = "NAME", default_value_t = EngineOptions::default().lora_mode)]
    lora_mode: LoraMode,
    /// Whether the denoising steps of successive frames are computed in one batch: where-faster (on GPUs; on a CPU a
    /// batch only delays pictures), or as-requested (by the parameter use_denoising_batch)
    #[arg(long, value_name = "NAME", default_value_t = Batching::WhereFaster)]
    batching: Batching,
    /// Whether streams with the same model, size and number of steps run the UNet together: off, on, or auto (on GPUs)
    #[arg(long, value_name = "NAME", default_value_t = BatchStreams::Off)]
    batch_streams: BatchStreams,
    /// The longest time that a frame waits for those of other streams with --batch-streams, in milliseconds; it waits
    /// at most a quarter of the interval between frames
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=1000))]
    batch_wait: u64,
    /// Whether the autoencoder computes only what depends on changed pixels of the frames, on the cpu executor: off, exact
    /// (without other pictures), or approximate
    #[arg(long, value_name = "NAME", default_value_t = RegionReuse::Off)]
    region_reuse: RegionReuse,
    /// The mean difference of a block of 8x8 pixels up to which it counts as unchanged with --region-reuse approximate, in
    /// levels of 0 to 255
    #[arg(long, value_name = "LEVELS", default_value_t = EngineOptions::default().region_threshold)]
    region_threshold: f32,
    /// The random number generator for noise: philox or torch-cpu
    #[arg(long, value_name = "NAME", default_value_t = EngineOptions::default().noise)]
    noise: Generator,
    /// Threads of the cpu executor [default: all of the machine's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Where packed weights are stored for a quick next start: beside (next to the model), off, or a folder
    #[arg(long, value_name = "WHERE", default_value = "beside")]
    packed_cache: String,
}

impl EngineArgs {
    /// The options of the library.
    ///
    /// # Errors
    ///
    /// Those of reading a calibration; `InvalidArgument` for a provider of an executor that has none.
    pub(super) fn options(&self) -> Result<EngineOptions> {
        let mut options = EngineOptions::default();
        options.executor = self.executor;
        options.onnx = OnnxOptions::default()
            .with_provider(self.provider)
            .with_device_index(self.device)
            .with_library(self.onnxruntime.clone())
            .with_cuda_graphs(self.cuda_graphs);
        let has_providers = matches!(self.executor, ExecutorKind::Auto | ExecutorKind::Onnx);
        if !has_providers && self.provider != Provider::Auto {
            let (provider, executor) = (self.provider, self.executor);
            let text =
                format!("provider: got {provider} for the executor {executor}, expected the executor onnx or auto");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        options.dtype = self.dtype;
        options.vae = Vae::from(self.vae.as_str());
        if let Some(path) = &self.calibration {
            options.calibration = Some(Calibration::read(path)?.into());
        }
        options.lora_mode = self.lora_mode;
        options.batching = self.batching;
        options.batch_streams = self.batch_streams;
        options.batch_wait = Duration::from_millis(self.batch_wait);
        options.region_reuse = self.region_reuse;
        options.region_threshold = self.region_threshold;
        options.noise = self.noise;
        options.threads = self.threads.map(usize::from);
        options.packed_cache = PackedCache::from(self.packed_cache.as_str());
        Ok(options)
    }
}

/// The engine's configuration, for reports.
#[derive(Debug)]
pub(super) struct Runs {
    pub(super) executor: &'static str,
    /// The execution provider of ONNX Runtime; `None` for other executors.
    pub(super) provider: Option<&'static str>,
    pub(super) dtype: &'static str,
    pub(super) threads: usize,
}

impl Runs {
    /// Of `engine`.
    pub(super) fn of(engine: &Engine) -> Self {
        let options = engine.options();
        Self {
            executor: options.executor.name(),
            provider: (options.executor == ExecutorKind::Onnx).then(|| options.onnx.provider.name()),
            dtype: options.dtype.name(),
            threads: options.threads.unwrap_or_else(machine::cores),
        }
    }
}

/// How a frame with another aspect ratio is fitted to the size of the pictures.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum FitName {
    /// Fill the picture, and crop the rest
    #[default]
    Cover,
    /// Show the whole frame, with borders
    Fit,
    /// Stretch the frame
    Stretch,
}

impl From<FitName> for Fit {
    fn from(name: FitName) -> Self {
        match name {
            FitName::Cover => Self::Cover,
            FitName::Fit => Self::Fit,
            FitName::Stretch => Self::Stretch,
        }
    }
}

/// Width and height, written `512` or `640x384`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (width, height) = text.split_once('x').unwrap_or((text, text));
        let side =
            |side: &str| side.parse().map_err(|_| format!("got {text:?}, expected a size such as 512 or 640x384"));
        Ok(Self { width: side(width)?, height: side(height)? })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_one_side_or_two() {
        assert_eq!("512".parse(), Ok(Size { width: 512, height: 512 }));
        assert_eq!("640x384".parse(), Ok(Size { width: 640, height: 384 }));
        for wrong in ["", "x", "640x", "640x384x3", "-1", "5e2"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[derive(clap::Parser)]
    struct Parser {
        #[command(flatten)]
        engine: EngineArgs,
    }

    fn engine(arguments: &[&str]) -> Result<EngineOptions> {
        use clap::Parser as _;
        Parser::parse_from(std::iter::once("dreamframe").chain(arguments.iter().copied())).engine.options()
    }

    #[test]
    fn the_executor_is_automatic_unless_it_is_given() {
        let options = engine(&[]).unwrap();
        assert_eq!((options.executor, options.onnx), (ExecutorKind::Auto, OnnxOptions::default()));
        let given = [
            "--executor",
            "onnx",
            "--provider",
            "cuda",
            "--device",
            "2",
            "--onnxruntime",
            "a/folder",
            "--cuda-graphs",
            "--vae",
            "tiny",
        ];
        let options = engine(&given).unwrap();
        let expected = OnnxOptions::default()
            .with_provider(Provider::Cuda)
            .with_device_index(2)
            .with_library(Some(PathBuf::from("a/folder")))
            .with_cuda_graphs(true);
        assert_eq!((options.executor, options.onnx, options.vae), (ExecutorKind::Onnx, expected, Vae::Tiny));
    }

    #[test]
    fn loras_are_merged_unless_the_mode_is_given() {
        assert_eq!(engine(&[]).unwrap().lora_mode, LoraMode::Auto);
        assert_eq!(engine(&["--lora-mode", "live"]).unwrap().lora_mode, LoraMode::Live);
    }

    #[test]
    fn streams_run_together_if_that_is_given() {
        let default = EngineOptions::default().batch_wait;
        let chosen = |arguments: &[&str]| engine(arguments).map(|options| (options.batch_streams, options.batch_wait));
        assert_eq!(chosen(&[]).unwrap(), (BatchStreams::Off, default));
        let given = ["--batch-streams", "auto", "--batch-wait", "3"];
        assert_eq!(chosen(&given).unwrap(), (BatchStreams::Auto, Duration::from_millis(3)));
    }

    #[test]
    fn unchanged_regions_are_used_again_if_that_is_given() {
        let chosen =
            |arguments: &[&str]| engine(arguments).map(|options| (options.region_reuse, options.region_threshold));
        assert_eq!(chosen(&[]).unwrap(), (RegionReuse::Off, 4.0));
        let given = ["--region-reuse", "approximate", "--region-threshold", "2.5"];
        assert_eq!(chosen(&given).unwrap(), (RegionReuse::Approximate, 2.5));
    }

    #[test]
    fn a_provider_of_an_executor_without_providers_is_refused() {
        let refused = engine(&["--executor", "cpu", "--provider", "cuda"]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        let text = "provider: got cuda for the executor cpu, expected the executor onnx or auto";
        assert_eq!(refused.to_string(), text);
    }

    #[test]
    fn a_file_past_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        assert_eq!(read_text(&path, 4).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

//! Options of an engine.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dreamframe::frame::Fit;
use dreamframe::load::Calibration;
use dreamframe::{
    BatchStreams, Batching, ControlImages, Dtype, Engine, EngineOptions, Error, ErrorKind, ExecutorKind, Flagged,
    Generator, LoraMode, ModelSource, PackedCache, Provider, RegionReuse, Result, StreamDiffusionParams, Vae,
};
use tracing::Dispatch;
use tracing::dispatcher::with_default;

use crate::callback::{Gate, UserData};
use crate::frame::format_of;
use crate::hooks::{HostHooks, dreamframe_hooks_t};
use crate::log::{self, dreamframe_log_callback_t};
use crate::pointer::Versioned;
use crate::style::{HostStyle, dreamframe_style_callback_t};
use crate::text;

/// The executor of networks.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_executor_t {
    /// The library's own CPU kernels.
    DREAMFRAME_EXECUTOR_CPU = 1,
    /// The reference implementation, one operation at a time: slow. Unsupported in libraries that are built without it.
    DREAMFRAME_EXECUTOR_REFERENCE = 2,
    /// ONNX Runtime, a library that is loaded at run time, with the provider in the options.
    DREAMFRAME_EXECUTOR_ONNX = 3,
    /// ONNX Runtime if it is installed and has a provider of a GPU that works, otherwise the library's own CPU kernels.
    DREAMFRAME_EXECUTOR_AUTO = 4,
}

/// An execution provider of ONNX Runtime: a kind of device, with the library of its kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_provider_t {
    /// CPUs. For comparisons: the library's own kernels are faster.
    DREAMFRAME_PROVIDER_CPU = 1,
    /// NVIDIA GPUs, with CUDA 12 or 13 and cuDNN 9.
    DREAMFRAME_PROVIDER_CUDA = 2,
    /// NVIDIA GPUs of the series RTX 30 and later, and of their generations for servers; not A100 and H100.
    DREAMFRAME_PROVIDER_TENSORRT_RTX = 3,
    /// NVIDIA GPUs, with TensorRT 10.
    DREAMFRAME_PROVIDER_TENSORRT = 4,
    /// GPUs with Vulkan, Direct3D 12 or Metal.
    DREAMFRAME_PROVIDER_WEBGPU = 5,
    /// GPUs on Windows, with DirectX 12.
    DREAMFRAME_PROVIDER_DIRECTML = 6,
    /// Apple's GPUs and neural engines.
    DREAMFRAME_PROVIDER_COREML = 7,
    /// AMD GPUs, with ROCm.
    DREAMFRAME_PROVIDER_MIGRAPHX = 8,
    /// Intel's processors, GPUs and NPUs.
    DREAMFRAME_PROVIDER_OPENVINO = 9,
}

/// The number format of weights and activations.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_dtype_t {
    /// 32 bits.
    DREAMFRAME_DTYPE_F32 = 1,
    /// bfloat16: 16 bits with the range of 32; requires hardware support.
    DREAMFRAME_DTYPE_BF16 = 2,
    /// 8-bit integers, which require a calibration file in the model's folder.
    DREAMFRAME_DTYPE_INT8 = 3,
    /// float16: 16 bits, 5 of them for the exponent. Not supported on the CPU.
    DREAMFRAME_DTYPE_F16 = 4,
}

/// The random number generator for noise.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_noise_t {
    /// Philox, counter-based; as torch on a GPU.
    DREAMFRAME_NOISE_PHILOX = 1,
    /// Mersenne Twister; as torch on a CPU.
    DREAMFRAME_NOISE_TORCH_CPU = 2,
}

/// How a frame with another aspect ratio is fitted to the stream's size.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_fit_t {
    /// Fills the image and crops the rest of the frame.
    DREAMFRAME_FIT_COVER = 1,
    /// Shows the whole frame, with black bars.
    DREAMFRAME_FIT_FIT = 2,
    /// Stretches the frame to the image, without regard to the aspect ratio.
    DREAMFRAME_FIT_STRETCH = 3,
}

/// The replacement of a picture that the safety checker flags.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_flagged_t {
    /// The last picture that was not flagged; black if there is none.
    DREAMFRAME_FLAGGED_PREVIOUS = 1,
    /// Black.
    DREAMFRAME_FLAGGED_BLACK = 2,
}

/// The control image of each row of the stream batch.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_control_images_t {
    /// The newest frame's.
    DREAMFRAME_CONTROL_IMAGES_NEWEST = 1,
    /// That of the row's own frame.
    DREAMFRAME_CONTROL_IMAGES_PER_ROW = 2,
}

/// How LoRAs change the UNet.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_lora_mode_t {
    /// Merged into the weights: frames take as long as without LoRAs, and a change of a scale prepares new weights.
    DREAMFRAME_LORA_MODE_MERGED = 1,
    /// Computed next to the layers: a change of a scale costs as much as one of the prompt, and frames take longer.
    DREAMFRAME_LORA_MODE_LIVE = 2,
    /// Live if frames take at most 5 % longer by the executor's estimate, otherwise merged.
    DREAMFRAME_LORA_MODE_AUTO = 3,
}

/// When the denoising steps of successive frames are computed in one batch, which delays pictures.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_batching_t {
    /// If the parameters have `use_denoising_batch`.
    DREAMFRAME_BATCHING_AS_REQUESTED = 1,
    /// If the parameters have it, and the device computes a batch in less time than its rows one after the other: not on a
    /// CPU, where a frame then passes through all steps at once.
    DREAMFRAME_BATCHING_WHERE_FASTER = 2,
}

/// Whether engines of a process run the UNet together, if they have the same model, size and number of rows. The frame of one
/// then waits a short time for those of others, if they are expected; the engines must run on different threads.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_batch_streams_t {
    /// Never.
    DREAMFRAME_BATCH_STREAMS_OFF = 1,
    /// On every device.
    DREAMFRAME_BATCH_STREAMS_ON = 2,
    /// If the device computes a batch in less time than its rows one after the other: not on a CPU.
    DREAMFRAME_BATCH_STREAMS_AUTO = 3,
}

/// Whether the autoencoder computes only what depends on changed pixels. It needs the executor `cpu` and an autoencoder without
/// norms over the image, such as the tiny one; others compute everything.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum dreamframe_region_reuse_t {
    /// Everything is computed.
    DREAMFRAME_REGION_REUSE_OFF = 1,
    /// Blocks of the frame count as unchanged if all their values are equal; pictures have the same bytes as without it.
    DREAMFRAME_REGION_REUSE_EXACT = 2,
    /// Blocks count as unchanged if they differ by at most `region_threshold`.
    DREAMFRAME_REGION_REUSE_APPROXIMATE = 3,
}

/// Receives the progress of loading, and may cancel it.
///
/// - Threads: called on the thread that loads: that of `dreamframe_engine_create()` or `dreamframe_engine_update()`, or
///   one
///   of a session; never concurrently for one engine.
/// - Ownership: the text is valid during the call.
///
/// @param user_data  that of the options
/// @param component  the network, such as `UNet2DConditionModel`
/// @param done       number of weights that are loaded
/// @param total      number of weights
///
/// Returns 0 to continue; any other value cancels loading with `DREAMFRAME_ERROR_CANCELLED`, without any change.
pub type dreamframe_progress_callback_t =
    Option<unsafe extern "C" fn(user_data: *mut c_void, component: *const c_char, done: u64, total: u64) -> i32>;

/// The providers in the order of [`dreamframe_provider_t`].
const PROVIDERS: [Provider; 9] = [
    Provider::Cpu,
    Provider::Cuda,
    Provider::TensorRtRtx,
    Provider::TensorRt,
    Provider::WebGpu,
    Provider::DirectMl,
    Provider::CoreMl,
    Provider::MiGraphX,
    Provider::OpenVino,
];

/// Options of an engine. Initialize with `DREAMFRAME_OPTIONS_INIT`: zeros and NULLs are the defaults.
///
/// Texts are UTF-8 and not kept after `dreamframe_engine_create()`. The callbacks may be called until
/// `dreamframe_engine_free()` and `dreamframe_session_free()` of each session of the engine have returned.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_options_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The source of models: a folder, or `"demo"` (or NULL) for the model in the library.
    pub models: *const c_char,
    /// The initial parameters as JSON, with Daydream's defaults for missing ones; NULL for those of the demo model.
    pub params_json: *const c_char,
    /// A `dreamframe_executor_t`; 0 for the library's own kernels.
    pub executor: u32,
    /// A `dreamframe_dtype_t`; 0 for the fastest of this machine without visible loss.
    pub dtype: u32,
    /// A `dreamframe_noise_t`; 0 for Philox.
    pub noise: u32,
    /// Number of threads that process a frame; 0 for all of the machine's.
    pub threads: u32,
    /// A `dreamframe_fit_t`; 0 for cover.
    pub fit: u32,
    /// The `dreamframe_pixel_format_t` of a session's pictures before they are copied out; 0 for RGBA8.
    pub output: u32,
    /// A `dreamframe_flagged_t`; 0 for the previous picture.
    pub flagged: u32,
    /// A `dreamframe_control_images_t`; 0 for the newest.
    pub control_images: u32,
    /// The `dreamframe_log_level_t` up to which lines are given to `log`; 0 for `info`.
    pub log_level: u32,
    /// The autoencoder: `"auto"` (the default, as NULL: `"tiny"` if it is installed, otherwise `"full"`), `"tiny"` for the
    /// published tiny one of the model's family, `"full"` for the model's own, the id of another, or a
    /// folder (an absolute path, or one that starts with `./` or `../`).
    pub vae: *const c_char,
    /// The id of an IP-Adapter instead of the published one; NULL for none.
    pub ip_adapter: *const c_char,
    /// The location of packed weights: `"beside"` for the model's folder (the default, as NULL), `"off"`, or a folder.
    pub packed_cache: *const c_char,
    /// The calibration file for `DREAMFRAME_DTYPE_INT8`; NULL for the one in the model's folder.
    pub calibration: *const c_char,
    /// Receives log messages; NULL for none.
    pub log: dreamframe_log_callback_t,
    /// Receives the progress of loading; NULL for none.
    pub progress: dreamframe_progress_callback_t,
    /// Provides style images; NULL for none.
    pub style: dreamframe_style_callback_t,
    /// Passed to each of these callbacks.
    pub user_data: *mut c_void,
    /// A `dreamframe_provider_t` for `DREAMFRAME_EXECUTOR_ONNX` and `DREAMFRAME_EXECUTOR_AUTO`; 0 for the first that works.
    pub provider: u32,
    /// The index of the device among those of the provider.
    pub device_index: u32,
    /// ONNX Runtime's library, version 1.24 or newer, or a folder with it; NULL for the one that the environment variable
    /// `DREAMFRAME_ONNXRUNTIME` names, or that `dreamframe gpu install` installed. A process loads one library only.
    pub onnxruntime: *const c_char,
    /// 1 to capture runs of networks as CUDA graphs, which takes less time of the processor for each frame, and more memory
    /// of the device; 0 not to. For the providers of NVIDIA; others are then an error.
    pub cuda_graphs: u32,
    /// A `dreamframe_lora_mode_t`; 0 for auto.
    pub lora_mode: u32,
    /// A `dreamframe_batching_t`; 0 for as requested.
    pub batching: u32,
    /// Processors and a safety checker of the host; NULL for none.
    pub hooks: *const dreamframe_hooks_t,
    /// A `dreamframe_batch_streams_t`; 0 for off.
    pub batch_streams: u32,
    /// The longest time that a frame waits for those of other engines with `batch_streams`, in milliseconds; 0 for 10. It waits
    /// at most a quarter of the interval between frames.
    pub batch_wait_ms: u32,
    /// A `dreamframe_region_reuse_t`; 0 for off.
    pub region_reuse: u32,
    /// The mean difference of the pixels of a block up to which it counts as unchanged with approximate `region_reuse`, in
    /// levels of 0 to 255; 0 for 4.
    pub region_threshold: f32,
}

// SAFETY: `repr(C)`, starts with its size, and zeros are valid for each field: integers, NULL, no function.
unsafe impl Versioned for dreamframe_options_t {
    const NAME: &'static str = "options";
    const LEAST: usize = offset_of!(Self, user_data) + size_of::<*mut c_void>();
}

/// The callbacks that an engine and its sessions share.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    dispatch: Option<Dispatch>,
    log: Arc<Gate>,
    progress: Arc<Gate>,
    style: Arc<Gate>,
}

impl Hooks {
    /// Runs `body` with the host's log.
    pub(crate) fn within<R>(&self, body: impl FnOnce() -> R) -> R {
        match &self.dispatch {
            Some(dispatch) => with_default(dispatch, body),
            None => body(),
        }
    }

    /// Closes all of them: they are not called again.
    pub(crate) fn close(&self) {
        [&self.style, &self.progress, &self.log].into_iter().for_each(|gate| gate.close());
    }
}

impl dreamframe_options_t {
    /// Default values.
    pub(crate) fn none() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            models: std::ptr::null(),
            params_json: std::ptr::null(),
            executor: 0,
            dtype: 0,
            noise: 0,
            threads: 0,
            fit: 0,
            output: 0,
            flagged: 0,
            control_images: 0,
            log_level: 0,
            vae: std::ptr::null(),
            ip_adapter: std::ptr::null(),
            packed_cache: std::ptr::null(),
            calibration: std::ptr::null(),
            log: None,
            progress: None,
            style: None,
            user_data: std::ptr::null_mut(),
            provider: 0,
            device_index: 0,
            onnxruntime: std::ptr::null(),
            cuda_graphs: 0,
            lora_mode: 0,
            batching: 0,
            hooks: std::ptr::null(),
            batch_streams: 0,
            batch_wait_ms: 0,
            region_reuse: 0,
            region_threshold: 0.0,
        }
    }

    /// Builds an engine with these options.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an invalid number or text, and errors of building an engine.
    ///
    /// # Safety
    ///
    /// Texts and functions are valid as documented in the header.
    pub(crate) unsafe fn build(&self) -> Result<(Engine, Hooks)> {
        // First, so that the host's data are destroyed if anything fails.
        // SAFETY: the caller's promise.
        let host_hooks = unsafe { HostHooks::read(self.hooks) }?;
        let user_data = UserData(self.user_data);
        let mut hooks = Hooks::default();
        hooks.dispatch = log::dispatch(self.log, user_data, log::level(self.log_level)?, hooks.log.clone());
        // SAFETY: the caller's promise.
        let (models, params) =
            unsafe { (text::optional(self.models, "models")?, text::optional(self.params_json, "params_json")?) };
        // SAFETY: likewise.
        let mut builder = host_hooks.add_to(Engine::builder().options(unsafe { self.engine_options() }?));
        if let Some(models) = models {
            builder = builder.models(ModelSource::from(models));
        }
        if let Some(params) = params {
            let (params, notices) = StreamDiffusionParams::from_json(params)?;
            hooks.within(|| notices.iter().for_each(|notice| tracing::info!("{notice}")));
            builder = builder.params(params);
        }
        if let Some(callback) = self.progress {
            let gate = hooks.progress.clone();
            builder = builder.progress(move |progress| {
                let user_data = user_data;
                let component = text::c_string(progress.component);
                // SAFETY: the host's callback, with a text that outlives the call.
                let call = || unsafe { callback(user_data.0, component.as_ptr(), progress.done, progress.total) };
                // Any other value cancels loading.
                if gate.call(call) == Some(0) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        if let Some(callback) = self.style {
            builder = builder.style_images(Arc::new(HostStyle { callback, user_data, gate: hooks.style.clone() }));
        }
        let engine = hooks.within(|| builder.build())?;
        Ok((engine, hooks))
    }

    /// # Safety
    ///
    /// Texts are valid as documented in the header.
    unsafe fn engine_options(&self) -> Result<EngineOptions> {
        let mut options = EngineOptions::default();
        let executors = [ExecutorKind::Cpu, ExecutorKind::Reference, ExecutorKind::Onnx, ExecutorKind::Auto];
        choose("executor", self.executor, executors, &mut options.executor)?;
        choose("provider", self.provider, PROVIDERS, &mut options.onnx.provider)?;
        options.onnx.device_index = self.device_index;
        choose("cuda_graphs", self.cuda_graphs, [true], &mut options.onnx.cuda_graphs)?;
        choose("dtype", self.dtype, [Dtype::F32, Dtype::Bf16, Dtype::Int8, Dtype::F16], &mut options.dtype)?;
        choose("noise", self.noise, [Generator::Philox, Generator::TorchCpu], &mut options.noise)?;
        choose("fit", self.fit, [Fit::Cover, Fit::Fit, Fit::Stretch], &mut options.fit)?;
        choose("flagged", self.flagged, [Flagged::Previous, Flagged::Black], &mut options.flagged)?;
        let images = [ControlImages::Newest, ControlImages::PerRow];
        choose("control_images", self.control_images, images, &mut options.control_images)?;
        choose(
            "lora_mode",
            self.lora_mode,
            [LoraMode::Merged, LoraMode::Live, LoraMode::Auto],
            &mut options.lora_mode,
        )?;
        let batching = [Batching::AsRequested, Batching::WhereFaster];
        choose("batching", self.batching, batching, &mut options.batching)?;
        let batch_streams = [BatchStreams::Off, BatchStreams::On, BatchStreams::Auto];
        choose("batch_streams", self.batch_streams, batch_streams, &mut options.batch_streams)?;
        if self.batch_wait_ms > 0 {
            options.batch_wait = Duration::from_millis(self.batch_wait_ms.into());
        }
        let region_reuse = [RegionReuse::Off, RegionReuse::Exact, RegionReuse::Approximate];
        choose("region_reuse", self.region_reuse, region_reuse, &mut options.region_reuse)?;
        // Other values are checked with the engine's options.
        if self.region_threshold != 0.0 {
            options.region_threshold = self.region_threshold;
        }
        options.threads = (self.threads > 0).then_some(self.threads as usize);
        if self.output != 0 {
            options.output = format_of(self.output).map_err(|error| error.within("output"))?;
        }
        // SAFETY: the caller's promise.
        unsafe {
            options.onnx.library = text::optional(self.onnxruntime, "onnxruntime")?.map(PathBuf::from);
            options.vae = text::optional(self.vae, "vae")?.map_or(Vae::Auto, Vae::from);
            options.ip_adapter = text::optional(self.ip_adapter, "ip_adapter")?.map(str::to_owned);
            if let Some(place) = text::optional(self.packed_cache, "packed_cache")? {
                options.packed_cache = PackedCache::from(place);
            }
            if let Some(path) = text::optional(self.calibration, "calibration")? {
                options.calibration = Some(Calibration::read(Path::new(path))?.into());
            }
        }
        Ok(options)
    }
}

/// Stores the value with this number (from 1, in the order of `all`) in `place`; 0 leaves it unchanged.
fn choose<T, const N: usize>(what: &str, number: u32, all: [T; N], place: &mut T) -> Result<()> {
    let Some(index) = number.checked_sub(1) else { return Ok(()) };
    let text = || format!("{what}: got {number}, expected 0 to {N}");
    *place = all.into_iter().nth(index as usize).ok_or_else(|| Error::new(ErrorKind::InvalidArgument, text()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_lora_modes_are_those_of_the_header() {
        let chosen = |lora_mode| {
            let options = dreamframe_options_t { lora_mode, ..dreamframe_options_t::none() };
            // SAFETY: all texts are NULL.
            unsafe { options.engine_options() }.unwrap().lora_mode
        };
        assert_eq!(chosen(0), LoraMode::Auto);
        assert_eq!(chosen(dreamframe_lora_mode_t::DREAMFRAME_LORA_MODE_AUTO as u32), LoraMode::Auto);
        assert_eq!(chosen(dreamframe_lora_mode_t::DREAMFRAME_LORA_MODE_MERGED as u32), LoraMode::Merged);
        assert_eq!(chosen(dreamframe_lora_mode_t::DREAMFRAME_LORA_MODE_LIVE as u32), LoraMode::Live);
    }

    #[test]
    fn the_numbers_of_batching_are_those_of_the_header() {
        let chosen = |batching| {
            let options = dreamframe_options_t { batching, ..dreamframe_options_t::none() };
            // SAFETY: all texts are NULL.
            unsafe { options.engine_options() }.unwrap().batching
        };
        assert_eq!(chosen(0), Batching::AsRequested);
        assert_eq!(chosen(dreamframe_batching_t::DREAMFRAME_BATCHING_AS_REQUESTED as u32), Batching::AsRequested);
        assert_eq!(chosen(dreamframe_batching_t::DREAMFRAME_BATCHING_WHERE_FASTER as u32), Batching::WhereFaster);
    }

    #[test]
    fn the_numbers_of_batch_streams_are_those_of_the_header() {
        let chosen = |batch_streams, batch_wait_ms| {
            let options = dreamframe_options_t { batch_streams, batch_wait_ms, ..dreamframe_options_t::none() };
            // SAFETY: all texts are NULL.
            let options = unsafe { options.engine_options() }.unwrap();
            (options.batch_streams, options.batch_wait.as_millis())
        };
        assert_eq!(chosen(0, 0), (BatchStreams::Off, 10));
        let numbers = |batch_streams: dreamframe_batch_streams_t| batch_streams as u32;
        assert_eq!(chosen(numbers(dreamframe_batch_streams_t::DREAMFRAME_BATCH_STREAMS_OFF), 3).0, BatchStreams::Off);
        assert_eq!(chosen(numbers(dreamframe_batch_streams_t::DREAMFRAME_BATCH_STREAMS_ON), 3), (BatchStreams::On, 3));
        assert_eq!(chosen(numbers(dreamframe_batch_streams_t::DREAMFRAME_BATCH_STREAMS_AUTO), 0).0, BatchStreams::Auto);
    }

    #[test]
    fn the_numbers_of_region_reuse_are_those_of_the_header() {
        let chosen = |region_reuse, region_threshold| {
            let options = dreamframe_options_t { region_reuse, region_threshold, ..dreamframe_options_t::none() };
            // SAFETY: all texts are NULL.
            let options = unsafe { options.engine_options() }.unwrap();
            (options.region_reuse, options.region_threshold)
        };
        let numbers = |region_reuse: dreamframe_region_reuse_t| region_reuse as u32;
        let off = numbers(dreamframe_region_reuse_t::DREAMFRAME_REGION_REUSE_OFF);
        let exact = numbers(dreamframe_region_reuse_t::DREAMFRAME_REGION_REUSE_EXACT);
        let approximate = numbers(dreamframe_region_reuse_t::DREAMFRAME_REGION_REUSE_APPROXIMATE);
        assert_eq!([chosen(0, 0.0), chosen(off, 4.0)], [(RegionReuse::Off, 4.0); 2]);
        assert_eq!(chosen(exact, 0.0).0, RegionReuse::Exact);
        assert_eq!(chosen(approximate, 2.5), (RegionReuse::Approximate, 2.5));
    }

    #[test]
    fn the_numbers_of_executors_and_providers_are_those_of_the_header() {
        let chosen = |executor: dreamframe_executor_t, provider: u32| {
            let options = dreamframe_options_t { executor: executor as u32, provider, ..dreamframe_options_t::none() };
            // SAFETY: all texts are NULL.
            let options = unsafe { options.engine_options() }.unwrap();
            (options.executor, options.onnx.provider)
        };
        assert_eq!(chosen(dreamframe_executor_t::DREAMFRAME_EXECUTOR_ONNX, 0), (ExecutorKind::Onnx, Provider::Auto));
        assert_eq!(chosen(dreamframe_executor_t::DREAMFRAME_EXECUTOR_AUTO, 0).0, ExecutorKind::Auto);
        for (number, provider) in [
            (dreamframe_provider_t::DREAMFRAME_PROVIDER_CPU, Provider::Cpu),
            (dreamframe_provider_t::DREAMFRAME_PROVIDER_CUDA, Provider::Cuda),
            (dreamframe_provider_t::DREAMFRAME_PROVIDER_TENSORRT_RTX, Provider::TensorRtRtx),
            (dreamframe_provider_t::DREAMFRAME_PROVIDER_TENSORRT, Provider::TensorRt),
            (dreamframe_provider_t::DREAMFRAME_PROVIDER_WEBGPU, Provider::WebGpu),
            (dreamframe_provider_t::DREAMFRAME_PROVIDER_DIRECTML, Provider::DirectMl),
            (dreamframe_provider_t::DREAMFRAME_PROVIDER_COREML, Provider::CoreMl),
            (dreamframe_provider_t::DREAMFRAME_PROVIDER_MIGRAPHX, Provider::MiGraphX),
            (dreamframe_provider_t::DREAMFRAME_PROVIDER_OPENVINO, Provider::OpenVino),
        ] {
            assert_eq!(chosen(dreamframe_executor_t::DREAMFRAME_EXECUTOR_ONNX, number as u32).1, provider);
        }
        assert_eq!(PROVIDERS.len(), Provider::ALL.len());
    }
}

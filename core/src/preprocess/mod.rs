//! Processors of images and latents: preprocessors of ControlNets, and members of the four processing chains.
//!
//! A [`Registry`] creates a [`Recipe`] from a processor's name and settings, which is slow if a network is loaded. A
//! recipe starts a [`Preprocessor`], which belongs to one engine and may keep state over frames; a [`Chain`] runs
//! several one after the other. All images have RGB in 0..1.

mod blur;
mod canny;
mod chain;
mod external;
mod feedback;
mod filter;
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub, reason = "public for the feature `internals`"))]
mod flow;
mod image;
mod network;
mod network_runner;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod networks;
#[cfg(not(feature = "internals"))]
#[allow(unreachable_pub, dead_code, reason = "public for the feature `internals`")]
pub(crate) mod networks;
mod passthrough;
mod pose;
mod processors;
mod registry;
mod resize;
mod segmentation;
mod sharpen;
mod soft_edge;
mod standard_lineart;
mod upscale;

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

pub use self::chain::{Chain, ChainKind, ChainUpdate};
pub(crate) use self::external::ExternalImages;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub use self::flow::{DenseFlow, FlowSource, sample};
#[cfg(not(feature = "internals"))]
pub(crate) use self::flow::{DenseFlow, FlowSource, sample};
pub use self::image::Image;
pub(crate) use self::network_runner::{Loaded, Running};
#[cfg(feature = "hub")]
pub(crate) use self::networks::{NetworkFiles, network_files};
pub use self::registry::{Recipe, Registry};
pub(crate) use self::resize::{Interpolation, Resizer};
use crate::error::{Error, ErrorKind, Result};
use crate::params::ProcessorName;

/// Processes an image or a latent for every frame, on the thread of the engine.
///
/// A host's own processor replaces the library's of the same name, here `external`:
///
/// ```
/// use std::sync::Arc;
///
/// use dreamframe::params::ProcessorName;
/// use dreamframe::preprocess::{Context, Factory, Image, Preprocessor, Registry};
/// use dreamframe::{Engine, FrameView, PixelFormat, StreamDiffusionParams};
/// use serde_json::{Map, Value};
///
/// #[derive(Debug)]
/// struct Invert;
///
/// impl Preprocessor for Invert {
///     fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> dreamframe::Result<()> {
///         output.copy_from(input);
///         output.pixels_mut().iter_mut().for_each(|value| *value = 1.0 - *value);
///         Ok(())
///     }
///
///     fn configure(&mut self, _: &Map<String, Value>) {}
/// }
///
/// #[derive(Debug)]
/// struct InvertFactory;
///
/// impl Factory for InvertFactory {
///     fn start(&self, _: &Map<String, Value>) -> Box<dyn Preprocessor> {
///         Box::new(Invert)
///     }
/// }
///
/// # fn main() -> dreamframe::Result<()> {
/// let registry = Registry::new().with(ProcessorName::External, Arc::new(InvertFactory));
/// let json = r#"{"width": 64, "height": 64, "skip_diffusion": true,
///     "image_postprocessing": {"processors": [{"type": "external"}]}}"#;
/// let (params, _) = StreamDiffusionParams::demo().patched(json)?;
/// let mut engine = Engine::builder().params(params).processors(registry).build()?;
/// let white = vec![255_u8; 64 * 64 * 3];
/// let picture = engine.process(&FrameView::packed(PixelFormat::Rgb8, 64, 64, &white)?)?;
/// assert_eq!(picture.frame.pixels()[..4], [0, 0, 0, 255]);
/// # Ok(())
/// # }
/// ```
pub trait Preprocessor: Send + fmt::Debug {
    /// Processes `input`, `[height, width, 3]` in 0..1 (for latents, `[height, width, channels]`), into `output`, which
    /// it resizes to its result. Allocates nothing after the first frame of a size.
    ///
    /// # Errors
    ///
    /// Any that prevents processing; the stream then continues with the next frame, or starts again with it if the kind is
    /// `Device`.
    fn run(&mut self, input: &Image, context: &Context<'_>, output: &mut Image) -> Result<()>;

    /// Changes the settings to valid ones, and keeps its state.
    fn configure(&mut self, settings: &Map<String, Value>);

    /// Discards its state; the settings stay.
    fn reset(&mut self) {}

    /// Returns the number of runs of networks since it was started.
    fn evaluations(&self) -> u64 {
        0
    }
}

/// Inputs of a processor besides the frame.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// The last picture, `[height, width, 3]` in 0..1; in a latent chain, the last clean latent. `None` before the
    /// first picture, and after a change of size.
    pub previous: Option<&'a Image>,
    /// The width and height that the input must have: those of the stream, multiplied by earlier processors that
    /// enlarge; in a latent chain, those of the latent.
    pub size: (usize, usize),
}

/// Starts processors of a loaded network, or of the host's own.
pub trait Factory: Send + Sync + fmt::Debug {
    /// Starts a processor with valid `settings`. Loads nothing.
    fn start(&self, settings: &Map<String, Value>) -> Box<dyn Preprocessor>;
}

/// Provides the networks of processors that have weights.
pub trait Networks: Send + Sync + fmt::Debug {
    /// Loads the network of the processor `name` for `settings`. Slow. Returns the same factory for a network that is
    /// loaded already, because a processor keeps its state as long as its factory is the same.
    ///
    /// # Errors
    ///
    /// `NotFound` if weights are missing, `BadModel`, `Unsupported`, `OutOfMemory`.
    fn load(&self, name: ProcessorName, settings: &Map<String, Value>) -> Result<Arc<dyn Factory>>;

    /// Returns the networks compiled for images of `size`, width and height; loads nothing.
    fn sized(self: Arc<Self>, size: (usize, usize)) -> Arc<dyn Networks>;
}

/// Returns an error unless the image has pixels with three channels.
fn rgb(image: &Image) -> Result<()> {
    if image.channels() == 3 && image.width() > 0 && image.height() > 0 {
        return Ok(());
    }
    let (width, height, channels) = (image.width(), image.height(), image.channels());
    let text =
        format!("image: got {width}x{height} with {channels} channels, expected sides of at least 1 and 3 channels");
    Err(Error::new(ErrorKind::InvalidArgument, text))
}

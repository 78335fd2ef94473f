//! Image in, image out: what makes the control image of a ControlNet, and what the four processing chains are made of.
//!
//! A [`Registry`] knows every processor by its name and makes a [`Recipe`] out of name and settings: slow where a
//! network is loaded, and so off the frame path. A recipe starts a [`Preprocessor`], which belongs to one engine and
//! may remember earlier frames; a [`Chain`] runs several one after the other. All images have RGB in 0..1, whatever the
//! engine has around them.

mod blur;
mod canny;
mod chain;
mod feedback;
mod filter;
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
pub use self::image::Image;
pub use self::registry::{Recipe, Registry};
pub(crate) use self::resize::{Interpolation, Resizer};
use crate::error::{Error, ErrorKind, Result};
use crate::params::ProcessorName;

/// Makes an image out of an image, or a latent out of a latent; on the frame path.
pub trait Preprocessor: Send + fmt::Debug {
    /// Works on `input`, `[height, width, 3]` in 0..1 (for latents, `[height, width, channels]`), and fills `output`,
    /// which it gives whatever size its result has. Allocates nothing once it has seen a frame of this size.
    ///
    /// # Errors
    ///
    /// Any that prevents processing; the stream then continues with the next frame.
    fn run(&mut self, input: &Image, context: &Context<'_>, output: &mut Image) -> Result<()>;

    /// Takes new settings, already checked against what its name allows, and keeps what it remembers.
    fn configure(&mut self, settings: &Map<String, Value>);

    /// Forgets earlier frames.
    fn reset(&mut self) {}

    /// Returns how often networks ran for it, since it was started.
    fn evaluations(&self) -> u64 {
        0
    }
}

/// What a processor may know besides its input.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// What came out the frame before: the last picture, `[height, width, 3]` in 0..1, or in a latent chain the last
    /// clean latent; none before the first picture, or after a change of size.
    pub previous: Option<&'a Image>,
    /// The size, width and height, that the input is to have here: the stream's, but for what enlarged a picture
    /// before; in a latent chain, that of the latent.
    pub size: (usize, usize),
}

/// Starts processors: what a network is loaded into, or what a host brings of its own.
pub trait Factory: Send + Sync + fmt::Debug {
    /// Starts a processor with `settings`, which are checked against what its name allows. Loads nothing.
    fn start(&self, settings: &Map<String, Value>) -> Box<dyn Preprocessor>;
}

/// Brings the networks of processors that have weights.
pub trait Networks: Send + Sync + fmt::Debug {
    /// Loads what the processor `name` needs for `settings`. Slow; gives the same factory again for what is loaded
    /// already, because a processor goes on (with what it remembers) as long as its factory stays.
    ///
    /// # Errors
    ///
    /// `NotFound` where weights are missing, `BadModel`, `Unsupported`, `OutOfMemory`.
    fn load(&self, name: ProcessorName, settings: &Map<String, Value>) -> Result<Arc<dyn Factory>>;

    /// Returns the same, laid out for images of `size`, width and height; loads nothing.
    fn sized(self: Arc<Self>, size: (usize, usize)) -> Arc<dyn Networks>;
}

/// Refuses what is not a picture with red, green and blue.
fn rgb(image: &Image) -> Result<()> {
    if image.channels() == 3 && image.width() > 0 && image.height() > 0 {
        return Ok(());
    }
    let (width, height, channels) = (image.width(), image.height(), image.channels());
    let text =
        format!("an image of {width}x{height} with {channels} channels, but it must have pixels, and 3 channels");
    Err(Error::new(ErrorKind::InvalidArgument, text))
}

//! Counts of network runs.

use serde::{Deserialize, Serialize};

/// Counts of network runs for frames, and of texts encoded for updates, since the engine was built.
///
/// ```
/// use dreamframe::{Engine, FrameView, PixelFormat, StreamDiffusionParams};
///
/// # fn main() -> dreamframe::Result<()> {
/// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
/// let mut engine = Engine::builder().params(params).build()?;
/// let pixels = vec![127_u8; 64 * 64 * 3];
/// let frame = FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels)?;
/// engine.process(&frame)?;
/// let before = engine.work();
/// engine.process(&frame)?;
/// let after = engine.work();
/// assert_eq!(after.unet_evaluations - before.unet_evaluations, 1);
/// // Two timesteps of the demo model's defaults, one row each.
/// assert_eq!(after.unet_rows - before.unet_rows, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Work {
    /// Texts that were encoded; a text counts once even if the model has two encoders. Texts are encoded when an update
    /// is prepared, whether or not it is applied, and cached, so that a recent prompt is not encoded again.
    pub text_encodings: u64,
    /// Runs of the autoencoder's encoder, each for one frame.
    pub encoder_evaluations: u64,
    /// Runs of the autoencoder's decoder, each for one picture.
    pub decoder_evaluations: u64,
    /// Pixels of frames that the encoder did not compute again (`region_reuse`), over all runs.
    pub unchanged_frame_pixels: u64,
    /// Pixels of latents that the decoder did not compute again (`region_reuse`), over all runs.
    pub unchanged_latent_pixels: u64,
    /// Runs of the whole UNet.
    pub unet_evaluations: u64,
    /// Those of them that were computed in one batch with frames of other engines (`batch_streams`).
    pub shared_unet_evaluations: u64,
    /// Batch rows of all these runs.
    pub unet_rows: u64,
    /// Runs of the UNet's last layers alone, with features of an earlier frame (`feature_reuse`).
    pub shallow_evaluations: u64,
    /// Control images made; ControlNets with the same preprocessor and settings share one.
    pub control_images: u64,
    /// Runs of the layers that embed a control image for a ControlNet.
    pub control_embeddings: u64,
    /// Runs of ControlNets.
    pub control_evaluations: u64,
    /// Batch rows of all ControlNet runs.
    pub control_rows: u64,
    /// Runs of the networks of processors, in the processing chains and for control images.
    pub processor_evaluations: u64,
    /// Pictures that the safety checker scored.
    pub safety_evaluations: u64,
}

/// Counts of the runs of one ControlNet, since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ControlWork {
    /// Runs of the layers that embed its control image.
    pub embeddings: u64,
    /// Runs of the ControlNet.
    pub evaluations: u64,
    /// Batch rows of all its runs.
    pub rows: u64,
}

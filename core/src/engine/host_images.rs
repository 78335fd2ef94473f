//! Images of the host besides frames: those of `external` processors, and the style image of the IP-Adapter.

use super::{Engine, Update};
use crate::conditioning::style::style_pixels_uri;
use crate::error::Result;
use crate::frame::FrameView;

impl Engine {
    /// Sets the image of `external` processors, from the next frame on: the control image of the ControlNet whose
    /// `model_id` is `controlnet`; with `None`, that of all ControlNets without an image of their own, and the result of
    /// `external` in `image_preprocessing` and `image_postprocessing`.
    ///
    /// The image is copied. It has any size and format, is fitted to the size of the stream as frames are
    /// ([`EngineOptions::fit`](crate::EngineOptions::fit)), and stays until it is replaced or
    /// [cleared](Self::clear_external_image), whatever ControlNets are added and removed. Without one, `external` returns
    /// its input, for a ControlNet the frame, and a notice reports this.
    ///
    /// ```
    /// use dreamframe::{Engine, FrameView, PixelFormat, StreamDiffusionParams};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let json = r#"{"width": 64, "height": 64, "skip_diffusion": true,
    ///     "image_preprocessing": {"processors": [{"type": "external"}]}}"#;
    /// let (params, _) = StreamDiffusionParams::demo().patched(json)?;
    /// let mut engine = Engine::builder().params(params).build()?;
    /// let (black, white) = (vec![0_u8; 64 * 64 * 3], vec![255_u8; 2 * 2 * 3]);
    /// let frame = FrameView::packed(PixelFormat::Rgb8, 64, 64, &black)?;
    /// engine.set_external_image(None, &FrameView::packed(PixelFormat::Rgb8, 2, 2, &white)?)?;
    /// assert_eq!(engine.process(&frame)?.frame.pixels()[..4], [255; 4]);
    /// engine.clear_external_image(None);
    /// assert_eq!(engine.process(&frame)?.frame.pixels()[..4], [0, 0, 0, 255]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an empty id, and for the images of more than 64 ControlNets; `OutOfMemory`. The image that
    /// was set before stays.
    pub fn set_external_image(&self, controlnet: Option<&str>, image: &FrameView<'_>) -> Result<()> {
        self.context.external.set(controlnet, image)
    }

    /// Removes the image that [`set_external_image`](Self::set_external_image) set for `controlnet`, if there is one. A
    /// ControlNet uses the image for all then.
    pub fn clear_external_image(&self, controlnet: Option<&str>) {
        self.context.external.clear(controlnet);
    }

    /// Sets the style image of the IP-Adapter: the parameter `ip_adapter_style_image_url`, by
    /// [`style_pixels_uri`](crate::style_pixels_uri).
    ///
    /// # Errors
    ///
    /// Those of `style_pixels_uri` and [`update`](Self::update).
    pub fn set_style_image(&mut self, image: &FrameView<'_>) -> Result<Update> {
        let uri = style_pixels_uri(image)?;
        self.edit(|params| params.ip_adapter_style_image_url = uri.into())
    }

    /// Disregards the similarity of the next frame to the last one if an image has changed since.
    pub(super) fn note_external(&mut self) {
        let version = self.context.external.version();
        if version != self.external_version {
            self.external_version = version;
            self.state.compute_next();
        }
    }
}

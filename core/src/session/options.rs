//! Options of a session.

use std::fmt;

use super::handle::SessionHandle;
use crate::engine::PictureInfo;
use crate::setters::setters;

/// A callback on a thread of the session, called when a picture is shown.
pub type PictureCallback = Box<dyn FnMut(&SessionHandle, &PictureInfo) + Send>;

/// Options of a session, fixed when it starts.
///
/// ```
/// use std::sync::mpsc;
///
/// use dreamframe::{Engine, FrameView, PixelFormat, SessionOptions, StreamDiffusionParams};
///
/// # fn main() -> dreamframe::Result<()> {
/// let (sender, pictures) = mpsc::channel();
/// let mut options = SessionOptions::default();
/// options.on_picture = Some(Box::new(move |handle, _info| {
///     // An error: the receiver is gone, and pictures are no longer wanted.
///     let _ = handle.poll().map(|picture| sender.send(picture));
/// }));
/// let params = StreamDiffusionParams { width: 64, height: 64, ..StreamDiffusionParams::demo() };
/// let session = Engine::builder().params(params).build()?.start(options)?;
/// let pixels = vec![127_u8; 64 * 64 * 3];
/// let id = session.handle().submit(&FrameView::packed(PixelFormat::Rgb8, 64, 64, &pixels)?)?;
/// assert_eq!(pictures.recv().expect("a picture").source_id, id);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Called on the session's thread when a picture is ready, for instance to wake an async task, or to take the
    /// picture with [`SessionHandle::poll`]. While pictures are interpolated
    /// ([`interpolation`](crate::StreamDiffusionParams::interpolation)), it is called on another thread, at the time at
    /// which the picture is to be shown; there are no two calls at a time.
    ///
    /// It must not block: the next frame or picture waits for it. If it panics, it is not called again, and
    /// [`Event::CallbackFailed`](super::Event::CallbackFailed) reports it.
    pub on_picture: Option<PictureCallback>,
    /// What to return for a frame that failed.
    pub failed_frame: FailedFrame,
}

setters! {
    SessionOptions:
    with_on_picture, on_picture: Option<PictureCallback>;
    with_failed_frame, failed_frame: FailedFrame;
}

/// What a session returns for a frame that failed, besides the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FailedFrame {
    /// The last picture again, marked [`Repeated`](crate::PictureKind::Repeated), so that there is a picture for each
    /// frame.
    #[default]
    Repeat,
    /// No picture.
    Skip,
}

impl fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionOptions")
            .field("on_picture", &self.on_picture.is_some())
            .field("failed_frame", &self.failed_frame)
            .finish()
    }
}

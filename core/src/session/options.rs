//! What a host chooses when it starts a session.

use std::fmt;

use super::handle::SessionHandle;
use crate::engine::PictureInfo;

/// What is called on the session's thread when a picture is ready.
pub type PictureCallback = Box<dyn FnMut(&SessionHandle, &PictureInfo) + Send>;

/// What a host chooses when it starts a session.
#[non_exhaustive]
#[derive(Default)]
pub struct SessionOptions {
    /// Is called on the session's thread when a picture is ready: the place to wake an async task, or to take the picture
    /// with [`SessionHandle::poll`] at once.
    ///
    /// It must not block: the next frame waits for it. If it panics, an event says so and it is not called again.
    pub on_picture: Option<PictureCallback>,
    /// What becomes of a frame that fails.
    pub failed_frame: FailedFrame,
}

/// What becomes of a frame that fails, besides the event that tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FailedFrame {
    /// The last picture comes again, marked [`Repeated`](crate::PictureKind::Repeated), so that pictures keep the pace of
    /// frames.
    #[default]
    Repeat,
    /// No picture comes.
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

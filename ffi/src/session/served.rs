//! Sessions of servers: their pictures go to viewers first, and only the server ends them.

use std::sync::{Arc, Mutex};

use dreamframe::{FrameView, Result, SessionOptions};

use super::{SessionCell, Shared};
use crate::engine_cell::EngineCell;

impl SessionCell {
    /// Starts a session whose pictures are passed to `show` before they can be polled.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an engine that is in use or in a session, `Device` if no thread can be started.
    pub(crate) fn serve(engine: Arc<EngineCell>, show: impl Fn(&FrameView<'_>) + Send + 'static) -> Result<Self> {
        let size = engine.with(|engine| Ok(engine.size()))?;
        let shared = Arc::new(Shared { served: true, ..Shared::new(size, Some(Arc::default())) });
        let seen = shared.clone();
        let mut options = SessionOptions::default();
        options.on_picture = Some(Box::new(move |handle, _| {
            if let Some(picture) = handle.poll() {
                show(&picture.frame.view());
                seen.note_size(&picture);
                *seen.kept() = Some(picture);
            }
        }));
        let session = engine.lend(|engine| engine.start(options))?;
        let handle = session.handle();
        Ok(Self { engine, session: Mutex::new(Some(session)), handle, shared, copier: Mutex::default() })
    }
}

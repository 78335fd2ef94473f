//! Hands pictures to the host.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::engine::{Picture, PictureInfo, PictureKind};
use crate::error::Error;
use crate::session::endpoint::Endpoint;
use crate::session::events::Event;

/// Called for each picture.
pub(crate) type Callback = Box<dyn FnMut(&PictureInfo) + Send>;

/// Puts pictures into the slot from which the host takes them, and calls its callback. There is one for each session, on
/// one thread at a time.
pub(crate) struct Presenter {
    endpoint: Arc<Endpoint>,
    on_picture: Option<Callback>,
}

impl Presenter {
    /// Returns one that calls `on_picture`.
    pub(crate) fn new(endpoint: Arc<Endpoint>, on_picture: Option<Callback>) -> Self {
        Self { endpoint, on_picture }
    }

    /// Publishes a picture.
    pub(crate) fn present(&mut self, picture: Picture) {
        let info = picture.info();
        if info.kind == PictureKind::Interpolated {
            self.endpoint.counters.interpolated.mark(Instant::now());
        }
        self.endpoint.show(picture);
        let Some(on_picture) = &mut self.on_picture else { return };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| on_picture(&info))) {
            let error = Arc::new(Error::of_panic("the picture callback", &*panic));
            tracing::warn!(%error, "the picture callback is not called again");
            self.endpoint.event_log.record(Event::CallbackFailed { error });
            self.on_picture = None;
        }
    }
}

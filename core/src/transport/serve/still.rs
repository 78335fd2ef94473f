//! What viewers see while no pictures come: the last one, or a grey one before the first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Result;
use crate::frame::{Frame, PixelFormat, Stamp};
use crate::session::{PictureCallback, SessionHandle};
use crate::transport::{Egress, now};

/// How long no picture may come before the last is shown again, and how often it then is.
const PAUSE: Duration = Duration::from_millis(500);
/// How bright the picture before the first is.
const GREY: u8 = 32;

/// Shows pictures of a session, and the last of them again while no others come.
#[derive(Debug)]
pub(super) struct Still {
    egress: Egress,
    last: Mutex<Frame>,
    pictures: AtomicU64,
}

impl Still {
    /// Starts with a grey picture of the given size.
    pub(super) fn new(egress: Egress, width: u32, height: u32) -> Result<Self> {
        let format = PixelFormat::Rgba8;
        let grey = Frame::from_packed(format, width, height, vec![GREY; format.packed_len(width, height)])?;
        Ok(Self { egress, last: Mutex::new(grey), pictures: AtomicU64::new(0) })
    }

    /// Shows every picture of a session, on its thread.
    pub(super) fn callback(self: std::sync::Arc<Self>) -> PictureCallback {
        Box::new(move |session: &SessionHandle, _| {
            let Some(picture) = session.poll() else { return };
            self.egress.show(&picture.frame.view());
            self.pictures.fetch_add(1, Ordering::Relaxed);
            // The session does not wait while the one before is being shown again.
            if let Ok(mut last) = self.last.try_lock() {
                *last = picture.frame;
            }
        })
    }

    /// Shows the last picture again whenever none has come for a while, for as long as this is polled.
    pub(super) async fn keep_showing(&self) {
        let mut looks = tokio::time::interval(PAUSE);
        let mut before = self.pictures.load(Ordering::Relaxed);
        loop {
            looks.tick().await;
            let pictures = self.pictures.load(Ordering::Relaxed);
            if pictures == before && self.egress.viewers() > 0 {
                let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                let view = last.view();
                let stamp = Stamp { timestamp: now(), ..view.stamp() };
                self.egress.show(&view.with_stamp(stamp));
            }
            before = pictures;
        }
    }
}

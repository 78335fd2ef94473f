//! The object of a player's handle.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dreamframe::frame::FrameCopier;
use dreamframe::transport::{FrameSink, LatestFrame, play};
use dreamframe::{Error, ErrorKind, Result};

use super::link::{Link, micros};
use super::options::Common;
use crate::frame::{copy_out, dreamframe_frame_t};
use crate::guard::Done;
use crate::handle;
use crate::pointer::Out;
use crate::transport::client::Client;
use crate::transport::player::dreamframe_player_options_t;
use crate::transport::state::dreamframe_connection_stats_t;

/// The object of a player's handle.
pub(crate) struct PlayerCell {
    link: Link,
    /// `None` if pictures go to a session.
    newest: Option<Arc<LatestFrame>>,
    copier: Mutex<FrameCopier>,
}

impl PlayerCell {
    /// # Safety
    ///
    /// Texts and structs are valid as documented in the header.
    pub(crate) unsafe fn start(url: &str, options: &dreamframe_player_options_t) -> Result<Self> {
        let &dreamframe_player_options_t { token, network, attempts, pause_ms, request_timeout_ms, .. } = options;
        // SAFETY: the caller's guarantee.
        let client = unsafe { Common { token, network, attempts, pause_ms, request_timeout_ms }.client_options() }?;
        let newest = options.session.is_null().then(|| Arc::new(LatestFrame::new()));
        let sink: Arc<dyn FrameSink> = match &newest {
            Some(newest) => newest.clone(),
            None => Arc::new(handle::get(options.session.cast_const())?.handle.clone()),
        };
        Ok(Self { link: Link(play(url, client, sink)?), newest, copier: Mutex::default() })
    }

    fn newest(&self) -> Result<&LatestFrame> {
        let text = "the frames of this player go to a session; take the pictures there";
        self.newest.as_deref().ok_or_else(|| Error::new(ErrorKind::InvalidArgument, text))
    }

    pub(crate) fn size(&self) -> Result<Option<(u32, u32)>> {
        Ok(self.newest()?.size())
    }

    /// Copies the newest picture into the host's memory; on failure, it is kept for the next call.
    ///
    /// # Safety
    ///
    /// `target` is valid as documented in the header.
    pub(crate) unsafe fn give(
        &self,
        timeout: Duration,
        target: &dreamframe_frame_t,
        out: Option<Out<u64>>,
    ) -> Result<Done> {
        let newest = self.newest()?;
        // A stopped player may still have a last picture, but no further one will come.
        let is_over = self.link.is_over();
        let Some(frame) = newest.take_within(if is_over { Duration::ZERO } else { timeout }) else {
            let text = "the player has ended and has no further picture";
            return if self.link.is_over() { Err(Error::new(ErrorKind::Closed, text)) } else { Ok(Done::NotReady) };
        };
        let id = frame.id();
        // SAFETY: the caller's guarantee.
        if let Err(error) = unsafe { copy_out(&self.copier, &frame.view(), target) } {
            newest.put_back(frame);
            return Err(error);
        }
        if let Some(out) = out {
            out.set(id.0);
        }
        Ok(Done::Yes)
    }
}

impl Client for PlayerCell {
    fn link(&self) -> &Link {
        &self.link
    }

    fn stats(&self) -> dreamframe_connection_stats_t {
        let peer = self.link.stats();
        let video = peer.video_in.unwrap_or_default();
        dreamframe_connection_stats_t {
            bytes: peer.bytes_in,
            packets: peer.packets_in,
            lost_packets: video.lost,
            pictures: video.frames.total,
            dropped: video.skipped,
            failed: video.failed,
            key_frame_requests: video.key_frame_requests,
            round_trip_us: micros(peer.round_trip),
            jitter_us: (video.jitter_ms * 1000.0) as u64,
            pictures_per_second: video.frames.per_second,
            width: video.width,
            height: video.height,
            ..Default::default()
        }
    }

    fn stop(&self) {
        self.link.0.stop();
        // Threads that are woken must see a stopped player.
        if let Some(newest) = &self.newest {
            newest.close();
        }
    }
}

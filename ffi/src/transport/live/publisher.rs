//! The object of a publisher's handle.

use dreamframe::transport::{Egress, publish};
use dreamframe::{FrameView, Result, Stamp, Timestamp};

use super::link::{Link, micros};
use super::options::{Common, egress_options};
use crate::transport::client::Client;
use crate::transport::publisher::dreamframe_publisher_options_t;
use crate::transport::state::dreamframe_connection_stats_t;

/// The object of a publisher's handle.
pub(crate) struct PublisherCell {
    link: Link,
    egress: Egress,
}

impl PublisherCell {
    /// # Safety
    ///
    /// Texts and structs are valid as documented in the header.
    pub(crate) unsafe fn start(url: &str, options: &dreamframe_publisher_options_t) -> Result<Self> {
        let &dreamframe_publisher_options_t { token, network, attempts, pause_ms, request_timeout_ms, .. } = options;
        let egress = egress_options(options.bitrate, options.frame_rate, options.key_frame_interval_ms)?;
        // SAFETY: the caller's guarantee.
        let client = unsafe { Common { token, network, attempts, pause_ms, request_timeout_ms }.client_options() }?;
        let egress = Egress::new(egress);
        Ok(Self { link: Link(publish(url, client, egress.clone())?), egress })
    }

    /// Sends a picture. Its timestamp is ignored, since the host's clock is unknown.
    pub(crate) fn show(&self, picture: &FrameView<'_>) {
        let stamp = Stamp { timestamp: Timestamp::default(), ..picture.stamp() };
        self.egress.show(&picture.with_stamp(stamp));
    }

    pub(crate) fn playback_url(&self) -> Option<String> {
        self.link.0.playback_url()
    }
}

impl Client for PublisherCell {
    fn link(&self) -> &Link {
        &self.link
    }

    fn stats(&self) -> dreamframe_connection_stats_t {
        let (peer, pictures) = (self.link.stats(), self.egress.stats());
        dreamframe_connection_stats_t {
            bytes: peer.bytes_out,
            packets: peer.packets_out,
            pictures: pictures.encoded.total,
            dropped: pictures.dropped + pictures.skipped,
            failed: pictures.failed,
            key_frame_requests: peer.key_frames_asked,
            round_trip_us: micros(peer.round_trip),
            pictures_per_second: pictures.encoded.per_second,
            width: pictures.width,
            height: pictures.height,
            ..Default::default()
        }
    }

    fn stop(&self) {
        self.link.0.stop();
    }
}

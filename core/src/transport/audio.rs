//! The publisher's audio, which is forwarded unchanged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::fanout::{Cursor, Fanout};
use crate::frame::Timestamp;

/// Capacity of a slow listener's queue, in packets: half a second at the usual 20 ms.
const ROOM: usize = 25;

/// One packet of Opus.
#[derive(Debug, Clone)]
pub struct AudioPacket {
    /// The encoded data, as the publisher sent it.
    pub data: Bytes,
    /// When it begins, in units of 1/48000 s, which wrap.
    pub timestamp: u32,
    /// The time of arrival, on the clock of [`now`](super::now).
    pub at: Timestamp,
}

/// Forwards a publisher's audio to its listeners.
///
/// Clones share the hub; subscriptions end when the last is dropped.
#[derive(Debug, Clone, Default)]
pub struct AudioHub {
    hold: Arc<HandleGuard>,
}

#[derive(Debug)]
struct HandleGuard {
    fanout: Arc<Fanout<AudioPacket>>,
}

impl Default for HandleGuard {
    fn default() -> Self {
        Self { fanout: Arc::new(Fanout::new(ROOM)) }
    }
}

impl Drop for HandleGuard {
    fn drop(&mut self) {
        self.fanout.close();
    }
}

/// The subscription of one listener.
#[derive(Debug)]
pub struct AudioSubscription {
    cursor: Cursor<AudioPacket>,
}

impl AudioHub {
    /// Sends a packet to all listeners, without waiting; a slow one loses the oldest.
    pub fn send(&self, packet: AudioPacket) {
        self.hold.fanout.put(packet);
    }

    /// Listens from the next packet on.
    pub fn subscribe(&self) -> AudioSubscription {
        AudioSubscription { cursor: self.hold.fanout.listen() }
    }
}

/// A listener that has lost packets continues with the newest.
fn is_start(_: &AudioPacket) -> bool {
    true
}

impl AudioSubscription {
    /// Waits for the next packet; `None` when the hub is dropped.
    pub async fn next(&mut self) -> Option<AudioPacket> {
        self.cursor.next(is_start, || {}).await
    }

    /// Like [`next`](Self::next), for threads that may block; `None` after `timeout` too.
    pub fn next_within(&mut self, timeout: Duration) -> Option<AudioPacket> {
        self.cursor.next_within(timeout, is_start, || {})
    }
}

/// The longest delay: pictures that are later than this are not waited for.
const LONGEST: Duration = Duration::from_secs(3);

/// The change of the latency that is followed. A smaller one is not noticed, and each change stretches the audio.
const TOLERANCE: Duration = Duration::from_millis(80);

/// How much later than it arrives audio is to be heard, so that it is heard with its pictures: 3 s at most.
///
/// ```
/// use std::time::Duration;
///
/// use dreamframe::transport::AudioDelay;
///
/// let mut delay = AudioDelay::default();
/// let ms = Duration::from_millis;
/// // Changes of up to 80 ms are not followed.
/// let delays = [250, 320, 90, 9000].map(|latency| delay.follow(ms(latency)));
/// assert_eq!(delays, [250, 250, 90, 3000].map(ms));
/// ```
#[derive(Debug, Clone, Default)]
pub struct AudioDelay {
    delay: Duration,
}

impl AudioDelay {
    /// Returns the delay of audio that arrives while the latency of pictures is `latency`.
    pub fn follow(&mut self, latency: Duration) -> Duration {
        let latency = latency.min(LONGEST);
        if latency.abs_diff(self.delay) > TOLERANCE {
            self.delay = latency;
        }
        self.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(timestamp: u32) -> AudioPacket {
        AudioPacket { data: Bytes::new(), timestamp, at: Timestamp(0) }
    }

    fn next(subscription: &mut AudioSubscription) -> Option<u32> {
        subscription.next_within(Duration::ZERO).map(|packet| packet.timestamp)
    }

    #[test]
    fn listener_receives_packets_until_the_hub_is_dropped() {
        let hub = AudioHub::default();
        hub.send(packet(1));
        let mut subscription = hub.subscribe();
        hub.clone().send(packet(2));
        hub.send(packet(3));
        drop(hub);
        let heard = [(); 3].map(|()| next(&mut subscription));
        assert_eq!(heard, [Some(2), Some(3), None]);
    }

    #[test]
    fn slow_listener_continues_with_the_newest() {
        let hub = AudioHub::default();
        let mut subscription = hub.subscribe();
        (0..100).for_each(|timestamp| hub.send(packet(timestamp)));
        assert_eq!([(); 2].map(|()| next(&mut subscription)), [Some(99), None]);
    }
}

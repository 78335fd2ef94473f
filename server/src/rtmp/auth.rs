//! Authentication of RTMP publishers: by the stream key.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use dreamframe::transport::{AccessUnit, Ingest, VideoCodec};
use tokio::sync::Mutex;

use super::listen::{Authenticator, Publication};
use crate::app::App;
use crate::sound::{Packet, SoundHub};
use crate::streams;

impl Authenticator for App {
    fn admit(&self, key: &str) -> Option<Box<dyn Publication>> {
        let stream = self.streams.by_key(key)?;
        let ingest = Ingest::start_with(VideoCodec::H264, stream.sink(), self.config.peers.ingest);
        let ingest = ingest.inspect_err(|error| tracing::error!(%error, "video cannot be decoded")).ok()?;
        let turn = stream.take_over();
        turn.ingest(ingest.clone());
        let sound = stream.outputs().source().sound.clone();
        Some(Box::new(Admitted { ingest, sound, turn: Arc::new(Mutex::new(turn)) }))
    }
}

/// An accepted publisher.
#[derive(Debug)]
struct Admitted {
    ingest: Ingest,
    sound: SoundHub,
    // Waited on by the one task that reads the connection.
    turn: Arc<Mutex<streams::Publication>>,
}

impl Publication for Admitted {
    fn access_unit(&self, unit: AccessUnit) {
        self.ingest.access_unit(unit);
    }

    fn sound(&self, packet: Packet) {
        self.sound.send(packet);
    }

    fn revoked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async { self.turn.lock().await.replaced().await })
    }
}

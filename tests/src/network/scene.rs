//! Servers and clients for loopback.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use dreamframe::transport::peer::{Media, PeerOptions};
use dreamframe::transport::{ClientOptions, Egress, EgressOptions, FrameSink, ServeOptions, Server, serve_media};
use dreamframe::{FrameView, Result};

/// Connections within this machine.
pub fn loopback() -> PeerOptions {
    PeerOptions::default().with_bind(vec![Ipv4Addr::LOCALHOST.into()])
}

/// A server at a free port.
pub fn serve_options() -> ServeOptions {
    ServeOptions::default().with_addr((Ipv4Addr::LOCALHOST, 0).into()).with_peer(loopback())
}

/// A client that does not wait long before it tries again.
pub fn client_options() -> ClientOptions {
    ClientOptions::default().with_peer(loopback()).with_pause(Duration::from_millis(50))
}

/// Shows every frame that is published to all who watch, as it is.
#[derive(Debug)]
pub struct Echo {
    egress: Egress,
}

impl Echo {
    /// Starts a server of one; gives what shows the pictures, too.
    ///
    /// # Errors
    ///
    /// Those of [`serve_media`].
    pub fn serve(options: &ServeOptions) -> Result<(Server<()>, Egress)> {
        let egress = Egress::new(EgressOptions::default());
        let publisher = Media { video_in: Some(Arc::new(Self { egress: egress.clone() })), ..Media::default() };
        let viewer = Media { video_out: Some(egress.clone()), ..Media::default() };
        Ok((serve_media(publisher, viewer, options)?, egress))
    }
}

impl FrameSink for Echo {
    fn frame(&self, frame: &FrameView<'_>) {
        self.egress.show(frame);
    }
}

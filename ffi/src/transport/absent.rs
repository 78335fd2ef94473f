//! A library without the feature `transport`: no handle can be created, so that no function is ever called with one.

use std::sync::Arc;
use std::time::Duration;

use dreamframe::{Error, ErrorKind, FrameView, Result};

use super::client::Client;
use super::player::dreamframe_player_options_t;
use super::publisher::dreamframe_publisher_options_t;
use super::server::dreamframe_server_options_t;
use super::state::{dreamframe_connection_stats_t, dreamframe_peer_state_t};
use crate::engine_cell::EngineCell;
use crate::frame::dreamframe_frame_t;
use crate::guard::Done;
use crate::pointer::Out;
use crate::session::SessionCell;

fn missing<T>(what: &str) -> Result<T> {
    let text = format!("{what} needs the feature `transport`, which this build lacks");
    Err(Error::new(ErrorKind::Unsupported, text))
}

pub(crate) enum Link {}

impl Link {
    pub(super) fn state(&self) -> dreamframe_peer_state_t {
        match *self {}
    }

    pub(super) fn wait_for(&self, _: dreamframe_peer_state_t, _: Duration) -> Result<()> {
        match *self {}
    }

    pub(super) fn next_event(&self, _: Duration) -> Result<Option<String>> {
        match *self {}
    }
}

pub(crate) enum ServerCell {}

impl ServerCell {
    pub(super) unsafe fn start(_: Arc<EngineCell>, _: &dreamframe_server_options_t) -> Result<Self> {
        missing("serving WHIP and WHEP")
    }

    pub(super) fn whip_url(&self) -> &str {
        match *self {}
    }

    pub(super) fn whep_url(&self) -> &str {
        match *self {}
    }

    pub(super) fn port(&self) -> u16 {
        match *self {}
    }

    pub(super) fn session(&self) -> Arc<SessionCell> {
        match *self {}
    }

    pub(super) fn viewers(&self) -> Result<usize> {
        match *self {}
    }

    pub(super) fn is_publishing(&self) -> Result<bool> {
        match *self {}
    }

    pub(super) fn stop(&self, _: Duration) -> Result<()> {
        match *self {}
    }

    pub(super) fn free(&self) {
        match *self {}
    }
}

pub(crate) enum PublisherCell {}

impl PublisherCell {
    pub(super) unsafe fn start(_: &str, _: &dreamframe_publisher_options_t) -> Result<Self> {
        missing("publishing to a WHIP server")
    }

    pub(super) fn show(&self, _: &FrameView<'_>) {
        match *self {}
    }

    pub(super) fn playback_url(&self) -> Option<String> {
        match *self {}
    }
}

pub(crate) enum PlayerCell {}

impl PlayerCell {
    pub(super) unsafe fn start(_: &str, _: &dreamframe_player_options_t) -> Result<Self> {
        missing("playing from a WHEP server")
    }

    pub(super) fn size(&self) -> Result<Option<(u32, u32)>> {
        match *self {}
    }

    pub(super) unsafe fn give(&self, _: Duration, _: &dreamframe_frame_t, _: Option<Out<u64>>) -> Result<Done> {
        match *self {}
    }
}

impl Client for PublisherCell {
    fn link(&self) -> &Link {
        match *self {}
    }

    fn stats(&self) -> dreamframe_connection_stats_t {
        match *self {}
    }

    fn stop(&self) {
        match *self {}
    }
}

impl Client for PlayerCell {
    fn link(&self) -> &Link {
        match *self {}
    }

    fn stats(&self) -> dreamframe_connection_stats_t {
        match *self {}
    }

    fn stop(&self) {
        match *self {}
    }
}

//! Servers, publishers and players on this machine, freed on drop.

use std::ffi::{CStr, CString, c_char};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use super::kit::{Engine, LIMIT_MS, Pixels, Session, last_error, options};
use super::network::init;
use crate::options::dreamframe_options_t;
use crate::session::dreamframe_session_t;
use crate::status::DREAMFRAME_OK;
use crate::transport::network::dreamframe_network_options_t;
use crate::transport::player::*;
use crate::transport::publisher::*;
use crate::transport::server::*;

/// Options of connections over loopback.
fn network() -> dreamframe_network_options_t {
    dreamframe_network_options_t { bind: c"127.0.0.1".as_ptr(), ..init() }
}

/// An engine whose pictures are its frames.
pub(super) fn mirror() -> Engine {
    let params =
        c"{\"width\": 64, \"height\": 64, \"model_id\": \"demo\", \"use_lcm_lora\": false, \"skip_diffusion\": true}";
    Engine::with(&dreamframe_options_t { params_json: params.as_ptr(), ..options() })
}

pub(super) fn text(call: impl FnOnce(*mut *mut c_char) -> i32) -> CString {
    let mut text = null_mut();
    assert_eq!(call(&raw mut text), DREAMFRAME_OK, "{}", last_error());
    // SAFETY: the library returned it.
    let owned = unsafe { CStr::from_ptr(text) }.to_owned();
    // SAFETY: as above.
    unsafe { crate::text::dreamframe_string_free(text) };
    owned
}

/// A server, freed on drop.
pub(super) struct Server(pub(super) *mut dreamframe_server_t);

impl Server {
    pub(super) fn start(engine: &Engine) -> Self {
        Self::with(engine, |options| options)
    }

    pub(super) fn with(
        engine: &Engine,
        change: impl FnOnce(dreamframe_server_options_t) -> dreamframe_server_options_t,
    ) -> Self {
        let network = network();
        let options = change(dreamframe_server_options_t {
            address: c"127.0.0.1:0".as_ptr(),
            network: &raw const network,
            ..init()
        });
        let mut server = null_mut();
        // SAFETY: all arguments are valid during the call.
        let status = unsafe { dreamframe_server_start(engine.0, &raw const options, &raw mut server) };
        assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
        Self(server)
    }

    pub(super) fn whip_url(&self) -> CString {
        // SAFETY: the place lives through the call.
        text(|out| unsafe { dreamframe_server_whip_url(self.0, out) })
    }

    pub(super) fn whep_url(&self) -> CString {
        // SAFETY: as above.
        text(|out| unsafe { dreamframe_server_whep_url(self.0, out) })
    }

    /// Returns a handle of its session, freed on drop.
    pub(super) fn session(&self) -> Session {
        let mut session: *mut dreamframe_session_t = null_mut();
        // SAFETY: as above.
        assert_eq!(unsafe { dreamframe_server_session(self.0, &raw mut session) }, DREAMFRAME_OK, "{}", last_error());
        Session(session)
    }

    pub(super) fn stop(&self) -> i32 {
        // SAFETY: handles are checked.
        unsafe { dreamframe_server_stop(self.0, LIMIT_MS) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: handles are checked.
        unsafe { dreamframe_server_free(self.0) };
    }
}

/// A publisher, freed on drop.
pub(super) struct Publisher(pub(super) *mut dreamframe_publisher_t);

impl Publisher {
    pub(super) fn start(url: &CStr, token: *const c_char, attempts: u32) -> Self {
        let network = network();
        let network = &raw const network;
        let options = dreamframe_publisher_options_t { token, network, attempts, pause_ms: 50, ..init() };
        let mut publisher = null_mut();
        // SAFETY: all arguments are valid during the call.
        let status = unsafe { dreamframe_publisher_start(url.as_ptr(), &raw const options, &raw mut publisher) };
        assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
        Self(publisher)
    }

    pub(super) fn show(&self, picture: &Pixels) {
        // SAFETY: all arguments are valid during the call.
        let status = unsafe { dreamframe_publisher_show(self.0, &raw const picture.frame) };
        assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
    }

    pub(super) fn wait_for(&self, state: u32) -> i32 {
        // SAFETY: handles are checked.
        unsafe { dreamframe_publisher_wait_for(self.0, state, LIMIT_MS) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // SAFETY: handles are checked.
        unsafe { dreamframe_publisher_free(self.0) };
    }
}

/// A player, freed on drop.
pub(super) struct Player(pub(super) *mut dreamframe_player_t);

impl Player {
    pub(super) fn start(url: &CStr, session: *mut dreamframe_session_t) -> Self {
        let network = network();
        let options = dreamframe_player_options_t { network: &raw const network, session, pause_ms: 50, ..init() };
        let mut player = null_mut();
        // SAFETY: all arguments are valid during the call.
        let status = unsafe { dreamframe_player_start(url.as_ptr(), &raw const options, &raw mut player) };
        assert_eq!(status, DREAMFRAME_OK, "{}", last_error());
        Self(player)
    }

    pub(super) fn wait(&self, timeout_ms: u64, target: &Pixels, id: &mut u64) -> i32 {
        // SAFETY: all arguments are valid during the call.
        unsafe { dreamframe_player_wait(self.0, timeout_ms, &raw const target.frame, id) }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // SAFETY: handles are checked.
        unsafe { dreamframe_player_free(self.0) };
    }
}

/// Returns true if a picture has about one shade, since codecs round.
pub(super) fn is_of(picture: &Pixels, shade: u8) -> bool {
    picture.bytes.chunks_exact(4).all(|pixel| pixel[..3].iter().all(|value| value.abs_diff(shade) < 12))
}

/// Repeats `step`, which blocks for a while, until it returns true.
pub(super) fn until(what: &str, mut step: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_millis(LIMIT_MS);
    while !step() {
        assert!(Instant::now() < deadline, "{what}");
    }
}

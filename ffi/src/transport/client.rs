//! The common part of publishers and players: a connection to a server that is re-established when it is lost.

use std::ffi::c_char;
use std::time::Duration;

use dreamframe::Result;

use super::backend::Link;
use super::state::{dreamframe_connection_stats_t, dreamframe_peer_state_t};
use crate::guard::{Done, guard, guard_ready};
use crate::handle::{self, Handle};
use crate::pointer::{Out, OutStruct};
use crate::status::dreamframe_status_t;
use crate::text;

/// The object of a publisher's or a player's handle.
pub(super) trait Client: Send + Sync {
    /// Its connection.
    fn link(&self) -> &Link;
    /// Its statistics.
    fn stats(&self) -> dreamframe_connection_stats_t;
    /// Stops it, and wakes waiting threads.
    fn stop(&self);
}

/// # Safety
///
/// The pointers are valid as documented in the header.
pub(super) unsafe fn state<H: Handle<Object: Client>>(client: *mut H, out_state: *mut u32) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the caller's guarantee.
        let out = unsafe { Out::required(out_state, "out_state") }?;
        out.set(handle::get(client.cast_const())?.link().state() as u32);
        Ok(())
    })
}

pub(super) fn wait_for<H: Handle<Object: Client>>(client: *mut H, state: u32, timeout_ms: u64) -> dreamframe_status_t {
    guard(|| {
        let cell = handle::get(client.cast_const())?;
        cell.link().wait_for(dreamframe_peer_state_t::of(state)?, Duration::from_millis(timeout_ms))
    })
}

/// # Safety
///
/// The pointers are valid as documented in the header.
pub(super) unsafe fn next_event<H: Handle<Object: Client>>(
    client: *mut H,
    timeout_ms: u64,
    out_json: *mut *mut c_char,
) -> dreamframe_status_t {
    // SAFETY: the caller's guarantee.
    unsafe {
        text_if_any(client, (out_json, "out_json"), |cell| cell.link().next_event(Duration::from_millis(timeout_ms)))
    }
}

/// Writes a string, if there is one.
///
/// # Safety
///
/// The pointers are valid as documented in the header.
pub(super) unsafe fn text_if_any<H: Handle<Object: Client>>(
    client: *mut H,
    (out, name): (*mut *mut c_char, &str),
    find: impl FnOnce(&H::Object) -> Result<Option<String>>,
) -> dreamframe_status_t {
    guard_ready(|| {
        // SAFETY: the caller's guarantee.
        let out = unsafe { Out::required(out, name) }?;
        let Some(found) = find(&*handle::get(client.cast_const())?)? else { return Ok(Done::NotReady) };
        out.set(text::to_host(found));
        Ok(Done::Yes)
    })
}

/// # Safety
///
/// The pointers are valid as documented in the header.
pub(super) unsafe fn stats<H: Handle<Object: Client>>(
    client: *mut H,
    out_stats: *mut dreamframe_connection_stats_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the caller's guarantee.
        let out = unsafe { OutStruct::required(out_stats) }?;
        out.set(&handle::get(client.cast_const())?.stats());
        Ok(())
    })
}

pub(super) fn stop<H: Handle<Object: Client>>(client: *mut H) -> dreamframe_status_t {
    guard(|| {
        handle::get(client.cast_const())?.stop();
        Ok(())
    })
}

pub(super) fn free<H: Handle<Object: Client>>(client: *mut H) {
    guard(|| {
        if let Some(cell) = handle::remove(client)? {
            cell.stop();
        }
        Ok(())
    });
}

//! Options of network connections.

use std::ffi::c_char;
use std::mem::offset_of;

use crate::pointer::Versioned;

/// Options of network connections. Initialize with `DREAMFRAME_NETWORK_OPTIONS_INIT`: zeros and NULLs are the defaults.
///
/// Texts are not kept after the call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_network_options_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Comma-separated IP addresses to bind; an unspecified address means every interface except loopback. NULL for
    /// `"0.0.0.0,127.0.0.1"`.
    pub bind: *const c_char,
    /// The public IP address, if a NAT maps it to this machine without changing ports: it is sent to peers as the first
    /// candidate. NULL for none.
    pub public_ip: *const c_char,
    /// STUN and TURN servers, as JSON in the format of browsers: `[{"urls": ["turn:host:3478"], "username": "…",
    /// "credential": "…"}]`. User name and credential are for TURN, and are not sent to viewers. Instead of them,
    /// `"secret": "…"` is the shared secret of the TURN server (coturn's `static-auth-secret`): each peer then gets
    /// derived credentials that are valid for one hour. NULL for none.
    pub ice_servers_json: *const c_char,
    /// The first UDP port to use, 1 to 65535; 0, here and in `last_port`, for ports chosen by the system.
    pub first_port: u32,
    /// The last UDP port to use, `first_port` to 65535. Each connection needs one port per address.
    pub last_port: u32,
    /// Timeout for establishing a connection, in milliseconds; 0 for 15 s.
    pub connect_timeout_ms: u32,
    /// Timeout for gathering candidates, in milliseconds, after which an offer or an answer has those that were found; a
    /// publisher or player sends later ones to its server. 0 for 2 s.
    pub gather_timeout_ms: u32,
    /// 1 to use candidates relayed by a TURN server only, so that peers do not learn the addresses of this machine; 0 for
    /// all. A publisher or player without a TURN server in `ice_servers_json` uses those that its server names.
    pub relayed_only: u32,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, starts with its size, and zeros are valid for each field: NULL, integers.
unsafe impl Versioned for dreamframe_network_options_t {
    const NAME: &'static str = "network_options";
    const LEAST: usize = offset_of!(Self, gather_timeout_ms) + size_of::<u32>();
}

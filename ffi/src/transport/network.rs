//! How connections reach the network.

use std::ffi::c_char;
use std::mem::offset_of;

use crate::pointer::Versioned;

/// How connections reach the network. Begin with `DREAMFRAME_NETWORK_OPTIONS_INIT`: zeros and NULLs are defaults.
///
/// Texts are only read during the call that takes it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_network_options_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// The IP addresses to receive at, with commas between them; an unspecified one stands for every interface but
    /// loopback. NULL for `"0.0.0.0,127.0.0.1"`.
    pub bind: *const c_char,
    /// The IP address to tell peers before those bound, where a NAT maps it to this machine port by port; NULL for
    /// none.
    pub public_ip: *const c_char,
    /// STUN and TURN servers to ask for further addresses, as JSON in the form that browsers take: `[{"urls":
    /// ["turn:host:3478"], "username": "…", "credential": "…"}]`, the latter two for TURN only, of which viewers are
    /// not reported. In place of them, `"secret": "…"` is shared with the TURN server (coturn's `static-auth-secret`),
    /// and each peer gets a user name and a password made with it that hold for an hour. NULL for none.
    pub ice_servers_json: *const c_char,
    /// The first UDP port to use, 1 to 65535; 0, here and in `last_port`, leaves the choice to the system.
    pub first_port: u32,
    /// The last UDP port to use, `first_port` to 65535. Each connection needs one for each address.
    pub last_port: u32,
    /// How long a connection may take to come about before it has failed, in milliseconds; 0 for 15 s.
    pub connect_timeout_ms: u32,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size, and zeros are a value of each field: NULL, numbers.
unsafe impl Versioned for dreamframe_network_options_t {
    const NAME: &'static str = "network_options";
    const LEAST: usize = offset_of!(Self, reserved) + size_of::<u32>();
}

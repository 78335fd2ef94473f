//! Fuzzing entry points: functions that take untrusted bytes.

pub mod requests;

use std::io::Cursor;

use axum::body::Bytes;
use dreamframe::params::StreamDiffusionParams;
use dreamframe::transport::IngestOptions;

pub use crate::cluster::fuzz_api::registry_entry;
pub use crate::hls::fuzz_api::hls;
use crate::media::{FrameReader as _, Mp4Reader};
pub use crate::osc::fuzz_api::osc;
pub use crate::routes::fuzz_api::byte_range;
use crate::wire::{echo, incoming::Incoming, read_object, request::Request};

/// The most frames of a video that are decoded.
const FRAMES: usize = 8;

/// Reads the body of a request that makes a stream. What is accepted is returned to the client as it was accepted.
pub fn request_body(bytes: &[u8]) {
    let base = StreamDiffusionParams::default();
    let body = read_object(&Bytes::copy_from_slice(bytes)).and_then(Request::read);
    let Ok(incoming) = body.and_then(|request| Incoming::read(request.params, &base, &base)) else { return };
    if let Ok((params, _)) = incoming.patch.merge(&base) {
        echo::echo(&params, None);
    }
}

/// Opens a video, and decodes its first frames.
pub fn mp4(bytes: &[u8]) {
    let Ok(mut reader) = Mp4Reader::new(Cursor::new(bytes), IngestOptions::default().max_side) else { return };
    for _ in 0..FRAMES {
        let Ok(Some(_)) = reader.next() else { return };
    }
}

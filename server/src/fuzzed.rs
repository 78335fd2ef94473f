//! Fuzzing entry points: functions that take untrusted bytes.

use std::io::Cursor;

use axum::body::Bytes;
use dreamframe::params::StreamDiffusionParams;
use dreamframe::transport::IngestOptions;

use crate::media::{FrameReader as _, Mp4Reader};
use crate::wire::{echo, incoming::Incoming, read_object, request::Request};

/// How many frames of a film are decoded.
const FRAMES: usize = 8;

/// Takes the body of a request that makes a stream. What was taken is told the client as it was taken.
pub fn request_body(bytes: &[u8]) {
    let base = StreamDiffusionParams::default();
    let body = read_object(&Bytes::copy_from_slice(bytes)).and_then(Request::read);
    let Ok(incoming) = body.and_then(|request| Incoming::read(request.params, &base, &base)) else { return };
    if let Ok((params, _)) = incoming.patch.merge(&base) {
        echo::echo(&params, None);
    }
}

/// Opens a film, and decodes its first frames.
pub fn mp4(bytes: &[u8]) {
    let Ok(mut reader) = Mp4Reader::new(Cursor::new(bytes), IngestOptions::default().max_side) else { return };
    for _ in 0..FRAMES {
        let Ok(Some(_)) = reader.next() else { return };
    }
}

//! Targets that read video: files, streams and RTMP.

use dreamframe_server::media::y4m::Y4mReader;
use dreamframe_server::rtmp::flv::VideoReader;

/// Any bytes as video tags of an RTMP publisher, each after its length: pictures come out of what can be read, nothing else.
pub fn flv(bytes: &[u8]) {
    let (mut reader, mut rest) = (VideoReader::default(), bytes);
    while let Some((&len, after)) = rest.split_first() {
        let (tag, after) = after.split_at(after.len().min(len.into()));
        if let Ok(Some(picture)) = reader.read(tag) {
            assert!(picture.data.len() >= 4);
        }
        rest = after;
    }
}

/// Any bytes as encoded pictures of a publisher: parameter sets and slices are refused, or no picture is larger than allowed.
pub fn h264_decode(bytes: &[u8]) {
    dreamframe::transport::fuzz_api::h264_decode(bytes);
}

/// Any bytes as an `.mp4`: its tables are refused, or its frames are decoded or refused.
pub fn mp4(bytes: &[u8]) {
    dreamframe_server::fuzz_api::mp4(bytes);
}

/// Any bytes from the network after RTMP's handshake, to both sides of a connection: chunks, commands, values.
pub fn rtmp(bytes: &[u8]) {
    dreamframe_server::rtmp::fuzz_api::bytes(bytes);
}

/// Any bytes as a YUV4MPEG2 stream: it ends in an error or at its end, and no frame is larger than the stream.
pub fn y4m(bytes: &[u8]) {
    if let Ok(mut film) = Y4mReader::new(bytes) {
        while let Ok(Some(_)) = film.read_frame() {}
    }
}

//! Any bytes as video tags of an RTMP publisher, each after its length: pictures come out of what can be read, nothing else.

#![no_main]

use dreamframe_server::rtmp::flv::VideoReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (mut reader, mut rest) = (VideoReader::default(), bytes);
    while let Some((&len, after)) = rest.split_first() {
        let (tag, after) = after.split_at(after.len().min(len.into()));
        if let Ok(Some(picture)) = reader.read(tag) {
            assert!(picture.data.len() >= 4);
        }
        rest = after;
    }
});

//! Any bytes as a YUV4MPEG2 stream: it ends in an error or at its end, and no frame is larger than the stream.

#![no_main]

use dreamframe_server::media::y4m::Y4mReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut film) = Y4mReader::new(bytes) {
        while let Ok(Some(_)) = film.read_frame() {}
    }
});

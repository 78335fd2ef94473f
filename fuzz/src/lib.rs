//! The fuzz targets: functions of any bytes that panic if a promise of the core or the server is broken.
//!
//! The program in `fuzz_targets` is compiled for one of them, and calls it with the inputs of libFuzzer (`cargo xtask
//! fuzz`). As functions, they are also compiled, linted and run with the committed seeds wherever the other tests are.

mod c_interface;
mod checkpoints;
mod files;
mod images;
mod media;
mod networks;
mod packets;
mod schema;
mod server;
mod text;
mod updates;
mod video_packets;
mod view;
mod weights;

pub use c_interface::c_calls;
pub use checkpoints::{lora_names, single_checkpoint};
pub use images::style_image;
pub use media::{flv, h264_decode, mp4, rtmp, y4m};
pub use networks::{calibration, hub_listing, network_config, shard_index, tokenizer_files};
pub use packets::rtp_h264;
pub use schema::params_schema;
pub use server::{amf, byte_range, hls, http_requests, osc_packet, registry_entry, rtmp_session};
pub use text::{channel_messages, params_json, request_body, sdp, sdp_answer};
pub use updates::parameter_patches;
pub use video_packets::{rtp_pictures, rtp_reorder};
pub use view::frame_view;
pub use weights::{lora_file, packed_weights, pickled_weights, safetensors_header};

/// A function that panics if a promise is broken for these bytes.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 36] = [
    ("amf", amf),
    ("byte_range", byte_range),
    ("c_calls", c_calls),
    ("calibration", calibration),
    ("channel_messages", channel_messages),
    ("flv", flv),
    ("frame_view", frame_view),
    ("h264_decode", h264_decode),
    ("hls", hls),
    ("http_requests", http_requests),
    ("hub_listing", hub_listing),
    ("lora_file", lora_file),
    ("lora_names", lora_names),
    ("mp4", mp4),
    ("network_config", network_config),
    ("osc_packet", osc_packet),
    ("packed_weights", packed_weights),
    ("parameter_patches", parameter_patches),
    ("params_json", params_json),
    ("params_schema", params_schema),
    ("pickled_weights", pickled_weights),
    ("registry_entry", registry_entry),
    ("request_body", request_body),
    ("rtmp", rtmp),
    ("rtmp_session", rtmp_session),
    ("rtp_h264", rtp_h264),
    ("rtp_pictures", rtp_pictures),
    ("rtp_reorder", rtp_reorder),
    ("safetensors_header", safetensors_header),
    ("sdp", sdp),
    ("sdp_answer", sdp_answer),
    ("shard_index", shard_index),
    ("single_checkpoint", single_checkpoint),
    ("style_image", style_image),
    ("tokenizer_files", tokenizer_files),
    ("y4m", y4m),
];

/// Returns the target with the name `name`.
///
/// # Errors
///
/// A message with the names that exist, if this is not one of them.
pub fn target(name: &str) -> Result<Target, String> {
    let names = || TARGETS.map(|(known, _)| known).join(", ");
    find(name).ok_or_else(|| format!("fuzz target: got {name:?}, expected one of {}", names()))
}

/// Returns the target with the name `name`. A program that calls this in a constant contains no other target.
#[must_use]
pub const fn find(name: &str) -> Option<Target> {
    let mut index = 0;
    while index < TARGETS.len() {
        let (known, target) = TARGETS[index];
        if equal(known.as_bytes(), name.as_bytes()) {
            return Some(target);
        }
        index += 1;
    }
    None
}

/// Returns whether two slices are equal, which `==` cannot in constants.
const fn equal(mut left: &[u8], mut right: &[u8]) -> bool {
    while let ([first, rest @ ..], [other, others @ ..]) = (left, right) {
        if *first != *other {
            return false;
        }
        (left, right) = (rest, others);
    }
    left.is_empty() && right.is_empty()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The input, its two halves, and the input with each of up to 16 bytes changed.
    fn variants(input: &[u8]) -> Vec<Vec<u8>> {
        let (first, second) = input.split_at(input.len() / 2);
        let mut variants = vec![input.to_vec(), first.to_vec(), second.to_vec()];
        for index in (0..input.len()).step_by(input.len() / 16 + 1) {
            let mut changed = input.to_vec();
            changed[index] ^= 0x55;
            variants.push(changed);
        }
        variants
    }

    #[test]
    fn every_target_processes_its_seeds_and_changes_of_them() {
        for (name, target) in TARGETS {
            target(&[]);
            target(&[0; 300]);
            let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
            for seed in fs::read_dir(seeds).into_iter().flatten() {
                let input = fs::read(seed.unwrap().path()).unwrap();
                variants(&input).iter().for_each(|input| target(input));
            }
        }
    }

    #[test]
    fn every_folder_of_seeds_has_a_target() {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds")).unwrap() {
            target(entry.unwrap().file_name().to_str().unwrap()).unwrap();
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_with_the_known_ones() {
        let error = target("no_such").unwrap_err();
        assert!(error.starts_with("fuzz target: got \"no_such\", expected one of amf, byte_range, "), "{error}");
    }
}

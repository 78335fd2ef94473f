//! The fuzz targets: functions of any bytes that panic if a promise of the core or the server is broken.
//!
//! The programs in `fuzz_targets` call them with the inputs of libFuzzer (`cargo xtask fuzz`). As functions, they are
//! also compiled, linted and run with the committed seeds wherever the other tests are.

mod media;
mod packets;
mod text;
mod view;
mod weights;

pub use media::{flv, h264_decode, mp4, rtmp, y4m};
pub use packets::rtp_h264;
pub use text::{params_json, request_body, sdp};
pub use view::frame_view;
pub use weights::{lora_file, packed_weights, pickled_weights, safetensors_header};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 14] = [
        ("flv", flv),
        ("frame_view", frame_view),
        ("h264_decode", h264_decode),
        ("lora_file", lora_file),
        ("mp4", mp4),
        ("packed_weights", packed_weights),
        ("params_json", params_json),
        ("pickled_weights", pickled_weights),
        ("request_body", request_body),
        ("rtmp", rtmp),
        ("rtp_h264", rtp_h264),
        ("safetensors_header", safetensors_header),
        ("sdp", sdp),
        ("y4m", y4m),
    ];

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
    fn every_program_and_every_folder_of_seeds_has_a_target() {
        let known = |name: &str| TARGETS.iter().any(|(target, _)| *target == name);
        for folder in ["fuzz_targets", "seeds"] {
            let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
            for entry in entries {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap();
                assert!(known(name), "{folder}: {name}");
            }
        }
    }
}

//! The fuzz targets, and the source files that each of them is for.

use std::path::Path;

/// Files and folders from the repository's root, by target.
pub(super) const MODULES: [(&str, &[&str]); 36] = [
    ("amf", &["server/src/rtmp/amf.rs"]),
    ("byte_range", &["server/src/routes/ranges.rs"]),
    (
        "c_calls",
        &[
            "ffi/src/device_frame.rs",
            "ffi/src/engine.rs",
            "ffi/src/frame.rs",
            "ffi/src/images.rs",
            "ffi/src/params.rs",
            "ffi/src/session.rs",
            "ffi/src/session_frames.rs",
            "ffi/src/session_updates.rs",
            "ffi/src/stats.rs",
            "ffi/src/text_to_image.rs",
        ],
    ),
    ("calibration", &["core/src/load/calibration.rs"]),
    ("channel_messages", &["core/src/transport/parameters"]),
    ("flv", &["server/src/rtmp/flv.rs"]),
    ("frame_view", &["core/src/frame/view.rs"]),
    ("h264_decode", &["core/src/transport/codec/h264.rs"]),
    ("hls", &["server/src/hls"]),
    ("http_requests", &["server/src/routes", "server/src/wire"]),
    ("hub_listing", &["core/src/load/hub/select.rs"]),
    ("lora_file", &["core/src/load/lora.rs", "core/src/load/lora_alpha.rs", "core/src/load/lora_keys.rs"]),
    ("lora_names", &["core/src/models/lora.rs", "core/src/models/lora_names.rs"]),
    ("mp4", &["server/src/media/mp4_read.rs"]),
    ("network_config", &["core/src/models/config"]),
    ("osc_packet", &["server/src/osc/packet.rs", "server/src/osc/write.rs"]),
    ("packed_weights", &["core/src/load/packed/format.rs"]),
    ("parameter_patches", &["core/src/params/diff.rs", "core/src/params/patch.rs"]),
    ("params_json", &["core/src/params/json.rs", "core/src/params/patch.rs", "core/src/params/validate.rs"]),
    ("params_schema", &["core/src/params/constraint.rs", "core/src/params/validate.rs"]),
    ("pickled_weights", &["core/src/load/pickle"]),
    ("registry_entry", &["server/src/cluster/seal.rs", "server/src/cluster/worker.rs"]),
    ("request_body", &["server/src/wire"]),
    ("rtmp", &["server/src/rtmp/amf.rs", "server/src/rtmp/chunk.rs"]),
    ("rtmp_session", &["server/src/rtmp/chunk.rs", "server/src/rtmp/publisher.rs"]),
    ("rtp_h264", &["core/src/transport/rtp/assembler.rs", "core/src/transport/rtp/h264.rs"]),
    (
        "rtp_pictures",
        &["core/src/transport/rtp/assembler.rs", "core/src/transport/rtp/h264.rs", "core/src/transport/rtp/vp8.rs"],
    ),
    ("rtp_reorder", &["core/src/transport/rtp/reorder.rs"]),
    ("safetensors_header", &["core/src/load/header.rs"]),
    ("sdp", &["core/src/transport/sdp", "core/src/transport/sdp.rs"]),
    ("sdp_answer", &["core/src/transport/peer/sdp_answer.rs", "core/src/transport/peer/sdp_normalize.rs"]),
    ("shard_index", &["core/src/load/weights.rs"]),
    ("single_checkpoint", &["core/src/load/single"]),
    ("style_image", &["core/src/conditioning/style.rs"]),
    ("tokenizer_files", &["core/src/conditioning/tokenizer", "core/src/conditioning/tokenizer.rs"]),
    ("y4m", &["server/src/media/y4m.rs"]),
];

/// Returns the names of the targets.
pub(super) fn targets() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|(name, _)| *name)
}

/// Returns the source files and folders of `target`.
pub(super) fn of(target: &str) -> &'static [&'static str] {
    MODULES.iter().find(|(name, _)| *name == target).map_or(&[], |(_, paths)| paths)
}

/// Returns whether the file at `path`, from the repository's root, is one of `modules`. The functions that only fuzzers
/// call are not.
pub(super) fn has(modules: &[&str], path: &Path) -> bool {
    modules.iter().any(|module| path.starts_with(module)) && !path.ends_with("fuzz_api.rs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools;

    #[test]
    fn every_target_has_source_files_that_exist() {
        for (target, paths) in MODULES {
            assert!(!paths.is_empty(), "{target}");
            assert!(paths.iter().all(|path| tools::root().join(path).exists()), "{target}: {paths:?}");
        }
    }

    #[test]
    fn the_targets_are_those_of_the_program() {
        let program = std::fs::read_to_string(tools::root().join("fuzz/src/lib.rs")).unwrap();
        let (_, list) = program.split_once("pub const TARGETS").unwrap();
        let (list, _) = list.split_once("];").unwrap();
        let names: Vec<&str> = list.split("(\"").skip(1).map(|item| item.split('"').next().unwrap()).collect();
        assert_eq!(names, targets().collect::<Vec<_>>());
    }

    #[test]
    fn files_in_a_folder_belong_to_it_except_the_functions_for_fuzzers() {
        let modules = ["server/src/hls", "server/src/rtmp/amf.rs"];
        for (path, belongs) in [
            ("server/src/hls/mod.rs", true),
            ("server/src/hls/fuzz_api.rs", false),
            ("server/src/rtmp/amf.rs", true),
            ("server/src/rtmp/flv.rs", false),
            ("server/src/hls.rs", false),
        ] {
            assert_eq!(has(&modules, Path::new(path)), belongs, "{path}");
        }
    }
}

//! The files of the small networks that dreamframe has built in, and of the tokenizer for checkpoints that contain none.
//!
//! For the build script of `dreamframe`, which packs those of the enabled features into the library.

/// CLIP's merges.
pub static CLIP_TOKENIZER: &[(&str, &[u8])] =
    &[("clip-tokenizer/merges.txt", include_bytes!("../clip-tokenizer/merges.txt"))];

/// TIN, which finds edges.
pub static EDGES: &[(&str, &[u8])] = &[("edges/model.safetensors", include_bytes!("../edges/model.safetensors"))];

/// MoveNet, which finds the joints of a person.
pub static POSE: &[(&str, &[u8])] = &[("movenet/model.safetensors", include_bytes!("../movenet/model.safetensors"))];

/// The classifier of nsfwjs.
pub static SAFETY: &[(&str, &[u8])] = &[("nsfw/model.safetensors", include_bytes!("../nsfw/model.safetensors"))];

/// MediaPipe's networks of person masks.
pub static SEGMENTATION: &[(&str, &[u8])] = &[
    ("segmentation/general.safetensors", include_bytes!("../segmentation/general.safetensors")),
    ("segmentation/landscape.safetensors", include_bytes!("../segmentation/landscape.safetensors")),
];

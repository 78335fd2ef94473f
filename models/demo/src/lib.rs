//! The files of dreamframe's demo model, a diffusers folder with half-precision weights.
//!
//! For the build script of `dreamframe`, which packs them into the library: programs use its feature `demo-model`.

macro_rules! files {
    ($($path:literal)*) => {
        &[$(($path, include_bytes!(concat!("../", $path)))),*]
    };
}

/// Each file's path, relative to the folder of the model's folder, and contents.
pub static FILES: &[(&str, &[u8])] = files! {
    "dreamframe-tiny/model_index.json"
    "dreamframe-tiny/scheduler/scheduler_config.json"
    "dreamframe-tiny/text_encoder/config.json"
    "dreamframe-tiny/text_encoder/model.safetensors"
    "dreamframe-tiny/tokenizer/merges.txt"
    "dreamframe-tiny/tokenizer/special_tokens_map.json"
    "dreamframe-tiny/tokenizer/tokenizer_config.json"
    "dreamframe-tiny/tokenizer/vocab.json"
    "dreamframe-tiny/unet/config.json"
    "dreamframe-tiny/unet/diffusion_pytorch_model.safetensors"
    "dreamframe-tiny/vae/config.json"
    "dreamframe-tiny/vae/diffusion_pytorch_model.safetensors"
};

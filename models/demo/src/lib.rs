//! The files of dreamframe's demo model, a diffusers folder with half-precision weights, and those of the ControlNets, the
//! LoRA and the IP-Adapter that were trained for it.
//!
//! For the build script of `dreamframe`, which packs them into the library: programs use its feature `demo-model`.

macro_rules! files {
    ($($path:literal)*) => {
        &[$(($path, include_bytes!(concat!("../", $path)))),*]
    };
}

/// Each file's path, relative to the folder of this package, and contents.
pub static FILES: &[(&str, &[u8])] = files! {
    "demo-canny/config.json"
    "demo-canny/diffusion_pytorch_model.safetensors"
    "demo-lora-hologram/pytorch_lora_weights.safetensors"
    "demo-softedge/config.json"
    "demo-softedge/diffusion_pytorch_model.safetensors"
    "demo-style/image_encoder/config.json"
    "demo-style/image_encoder/model.safetensors"
    "demo-style/ip-adapter.safetensors"
    "dreamframe-tiny/dreamframe-int8.json"
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

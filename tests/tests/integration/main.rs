//! Tests of the engine, of sessions and of the C interface, in one program, since each program is linked with everything.
//!
//! Those that measure their own process (`steady_state`, `vanishing`, `random_patches`) or real time (`network`) are
//! programs of their own.

mod annotators;
mod bf16;
mod c_abi;
mod cached;
mod chains;
mod control;
mod controlnets;
mod determinism;
mod device;
mod device_faults;
mod device_frames;
mod eight_bits;
mod every_field;
mod feature_reuse;
mod host_images;
mod hosts;
mod img2img_turbo;
mod interpolation;
mod ip_adapter;
mod live_changes;
mod live_ip_adapter;
mod looking_back;
mod lora;
mod nsfw;
mod parity;
mod pickled;
mod processors;
mod safety;
mod segmentation;
mod session;
mod single_file;
mod stream_parity;
mod transitions;
mod work;

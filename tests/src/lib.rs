//! Common code of the tests of this crate: the location of their data, and the comparison of numbers.

pub mod adapters;
pub mod allocations;
pub mod clips;
pub mod controlnets;
pub mod device_faults;
pub mod device_memory;
#[cfg(target_os = "linux")]
pub mod file_faults;
pub mod frames;
pub mod hub;
pub mod injection;
pub mod kit;
pub mod native;
#[cfg(feature = "transport")]
pub mod network;
pub mod patches;
pub mod pickled;
pub mod process;
#[cfg(feature = "transport")]
pub mod soak;
pub mod steadiness;
pub mod updates;

mod bytes;
mod golden;
mod networks;
mod single;
mod tensors;

pub use bytes::Bytes;
pub use golden::{Golden, assert_close, mean_error, relative_error};
pub use networks::{
    executors, onnx_device, onnx_dtypes, onnx_library, onnx_provider, run, run_unet, run_unet_over,
    run_unet_with_branches,
};
pub use single::{File, Single, Stored};
pub use tensors::Tensors;

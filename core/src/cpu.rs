//! What the CPU executor can use on this machine.

use crate::error::Result;
use crate::exec::cpu::{self, CpuExecutor, CpuOptions, Isa};
use crate::exec::{Dtype, memory};
use crate::system;

/// Returns the dtype with which the CPU executor is fastest on this machine without a visible loss of quality: bf16 on
/// processors with AVX512-BF16 or, of Arm's, FEAT_BF16; f32 on others. The environment variable `DREAMFRAME_CPU` takes
/// precedence.
pub fn fastest_dtype() -> Dtype {
    cpu::fastest_dtype()
}

/// Checks that the CPU executor has kernels for `dtype` on this machine.
///
/// # Errors
///
/// `Unsupported` with the instructions that the processor lacks; `InvalidArgument` for a value of `DREAMFRAME_CPU` that is
/// not a name.
///
/// ```
/// use dreamframe::{Dtype, cpu};
///
/// assert!(cpu::check_dtype(cpu::fastest_dtype()).is_ok());
/// assert!(cpu::check_dtype(Dtype::F32).is_ok());
/// ```
pub fn check_dtype(dtype: Dtype) -> Result<()> {
    CpuExecutor::new(CpuOptions { dtype, threads: std::num::NonZeroUsize::new(1), ..CpuOptions::default() }).map(drop)
}

/// Returns the bytes that this process can allocate without swapping, by the machine's memory and the limits of its
/// control groups on Linux, or of its job on Windows; `None` if the system does not report it.
///
/// ```
/// assert!(dreamframe::cpu::available_memory().is_none_or(|bytes| bytes > 0));
/// ```
pub fn available_memory() -> Option<u64> {
    memory::available()
}

/// Returns the bytes of memory of the machine; `None` if the system does not report it.
///
/// ```
/// let total = dreamframe::cpu::total_memory();
/// assert!(total.is_none_or(|total| dreamframe::cpu::available_memory() <= Some(total)));
/// ```
pub fn total_memory() -> Option<u64> {
    system::total_memory()
}

/// Returns the most bytes of memory that this process has occupied so far; `None` if the system does not report it.
///
/// ```
/// assert!(dreamframe::cpu::peak_memory().is_none_or(|bytes| bytes > 0));
/// ```
pub fn peak_memory() -> Option<u64> {
    system::peak_memory()
}

/// Returns the name of the processor; `None` if the system does not report it.
///
/// ```
/// assert!(dreamframe::cpu::processor_name().is_none_or(|name| !name.is_empty()));
/// ```
pub fn processor_name() -> Option<String> {
    system::processor_name()
}

/// Returns the name of the largest set of vector instructions that this machine has kernels for: `portable`; on x86-64
/// `avx2`, `avx-vnni`, `avx512`, `avx512-vnni`, `bf16`, `int8`, `amx-bf16` or `amx-int8`; on 64-bit Arm `neon`,
/// `neon-dot`, `neon-bf16` or `neon-i8mm`. Each set includes those before it, except that `avx512`, `bf16` and `neon-bf16`
/// have no products of bytes.
pub fn instruction_set() -> &'static str {
    Isa::ALL.into_iter().rev().find(|isa| isa.available()).unwrap_or(Isa::Portable).name()
}

//! Facts of this machine, and the resources that this process used.

use dreamframe::cpu;

/// Processor features that matter to the kernels, with whether they are here.
#[cfg(target_arch = "x86_64")]
pub(super) fn processor_features() -> Vec<(&'static str, bool)> {
    use std::arch::is_x86_feature_detected as has;

    vec![
        ("avx2", has!("avx2")),
        ("fma", has!("fma")),
        ("avx512f", has!("avx512f")),
        ("avx512bw", has!("avx512bw")),
        ("avx512bf16", has!("avx512bf16")),
        ("avx512vnni", has!("avx512vnni")),
    ]
}

/// The same for Arm processors.
#[cfg(target_arch = "aarch64")]
pub(super) fn processor_features() -> Vec<(&'static str, bool)> {
    use std::arch::is_aarch64_feature_detected as has;

    vec![("neon", has!("neon")), ("dotprod", has!("dotprod")), ("bf16", has!("bf16")), ("i8mm", has!("i8mm"))]
}

/// The same for others, for which there are portable kernels only.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn processor_features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

/// The number of threads that can run simultaneously.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Total and available memory, in MiB.
pub(super) fn memory_mb() -> Option<(u64, u64)> {
    Some((mebibytes(cpu::total_memory()?), mebibytes(cpu::available_memory()?)))
}

/// The peak memory of this process, in MiB.
pub(super) fn peak_rss_mb() -> Option<u64> {
    cpu::peak_memory().map(mebibytes)
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_taken_memory() {
        assert!(peak_rss_mb().is_none_or(|mb| mb > 0));
        assert!(memory_mb().is_none_or(|(all, free)| all >= free && free > 0));
        let is_known = cfg!(any(target_os = "linux", target_os = "macos", windows));
        assert_eq!((peak_rss_mb().is_some(), memory_mb().is_some()), (is_known, is_known));
    }
}

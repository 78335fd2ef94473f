//! Facts of this machine, and the resources that this process used. On systems other than Linux some are unknown.

use std::fs;

/// Whether the processor has a feature; never so on another kind of processor.
macro_rules! has {
    ($feature:tt) => {{
        #[cfg(target_arch = "x86_64")]
        {
            std::arch::is_x86_feature_detected!($feature)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            false
        }
    }};
}

/// Processor features that matter to the kernels, with whether they are here.
pub(super) fn processor_features() -> [(&'static str, bool); 6] {
    [
        ("avx2", has!("avx2")),
        ("fma", has!("fma")),
        ("avx512f", has!("avx512f")),
        ("avx512bw", has!("avx512bw")),
        ("avx512bf16", has!("avx512bf16")),
        ("avx512vnni", has!("avx512vnni")),
    ]
}

/// The name of the processor, where the system reports it.
pub(super) fn processor_name() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

/// The number of threads that can run simultaneously.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// Total and available memory, in MiB.
pub(super) fn memory_mb() -> Option<(u64, u64)> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    Some((field_mb(&info, "MemTotal:")?, field_mb(&info, "MemAvailable:")?))
}

/// The peak memory of this process, in MiB.
pub(super) fn peak_rss_mb() -> Option<u64> {
    field_mb(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// `Name:   1234 kB`, in MiB.
fn field_mb(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_in_mib() {
        assert_eq!(field_mb("VmPeak:\t 4096 kB\nVmHWM:\t   2048 kB\n", "VmHWM:"), Some(2));
        assert_eq!(field_mb("VmHWM:\t lots\n", "VmHWM:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_taken_memory() {
        assert!(peak_rss_mb().is_some_and(|mb| mb > 0));
        assert!(memory_mb().is_some_and(|(all, free)| all >= free && free > 0));
    }
}

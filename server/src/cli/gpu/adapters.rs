//! The GPUs of this machine, as far as the system lists them without a library of their vendor.

use std::fs;
use std::path::Path;

use super::manifest::Set;

const NVIDIA: u16 = 0x10de;
const AMD: u16 = 0x1002;
const INTEL: u16 = 0x8086;

/// The GPUs of this machine, and the driver of NVIDIA's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Adapters {
    /// `None` if the system does not list them.
    pub(super) list: Option<Vec<Adapter>>,
    /// The version of NVIDIA's driver: `580.65.06`.
    pub(super) nvidia_driver: Option<String>,
}

/// A GPU on the PCI bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Adapter {
    /// The address on the bus: `0000:01:00.0`.
    address: String,
    vendor: u16,
    device: u16,
    /// The name of the product, where the driver reports it.
    model: Option<String>,
}

impl Adapters {
    /// Reads what Linux lists in `/sys` and `/proc`.
    pub(super) fn gather() -> Self {
        Self::below(Path::new("/"))
    }

    fn below(root: &Path) -> Self {
        let entries = fs::read_dir(root.join("sys/bus/pci/devices")).ok();
        let list = entries.map(|entries| {
            let mut list: Vec<Adapter> =
                entries.flatten().filter_map(|entry| Adapter::read(root, &entry.path())).collect();
            list.sort_unstable_by(|a, b| a.address.cmp(&b.address));
            list
        });
        let driver = fs::read_to_string(root.join("proc/driver/nvidia/version")).ok();
        Self { list, nvidia_driver: driver.as_deref().and_then(driver_version) }
    }

    /// Returns one GPU with these ids (`10de:2684`), for tests.
    #[cfg(test)]
    pub(super) fn of(ids: Option<&str>, nvidia_driver: Option<&str>) -> Self {
        let number = |text| u16::from_str_radix(text, 16).unwrap();
        let list = ids.map(|ids| {
            let (vendor, device) = ids.split_once(':').unwrap();
            vec![Adapter { address: String::new(), vendor: number(vendor), device: number(device), model: None }]
        });
        Self { list, nvidia_driver: nvidia_driver.map(str::to_owned) }
    }

    /// Returns the set of packages for the fastest of these GPUs; `None` if there is none, or it is not known.
    pub(super) fn set(&self) -> Option<Set> {
        if cfg!(target_os = "macos") {
            // Apple's GPUs are Core ML's, which is part of ONNX Runtime there.
            return Some(Set::Cpu);
        }
        let rank = |set: &Set| match set {
            Set::Rtx => 3,
            Set::Cuda => 2,
            Set::Webgpu => 1,
            Set::Cpu => 0,
        };
        self.list.iter().flatten().filter_map(Adapter::set).max_by_key(rank)
    }

    /// Returns whether there is a GPU of NVIDIA's without its driver.
    pub(super) fn lacks_nvidia_driver(&self) -> bool {
        self.nvidia_driver.is_none() && self.list.iter().flatten().any(|adapter| adapter.vendor == NVIDIA)
    }
}

impl Adapter {
    /// Reads the device in `folder`, if it is a display controller.
    fn read(root: &Path, folder: &Path) -> Option<Self> {
        let number = |name: &str| hexadecimal(&fs::read_to_string(folder.join(name)).ok()?);
        // The upper byte of the three is the base class: 3 for display controllers.
        if number("class")? >> 16 != 3 {
            return None;
        }
        let address = folder.file_name()?.to_str()?.to_owned();
        let (vendor, device) = (u16::try_from(number("vendor")?).ok()?, u16::try_from(number("device")?).ok()?);
        let information = root.join("proc/driver/nvidia/gpus").join(&address).join("information");
        let information = fs::read_to_string(information).unwrap_or_default();
        let model = information.lines().find_map(|line| line.strip_prefix("Model:")).map(|name| name.trim().to_owned());
        Some(Self { address, vendor, device, model })
    }

    /// Returns its name: that of the product, or the vendor with the PCI ids.
    pub(super) fn name(&self) -> String {
        let vendor = match self.vendor {
            NVIDIA => "NVIDIA",
            AMD => "AMD",
            INTEL => "Intel",
            _ => "another vendor",
        };
        let ids = format!("{:04x}:{:04x}", self.vendor, self.device);
        match &self.model {
            Some(model) => format!("{model} ({ids})"),
            None => format!("{vendor} ({ids})"),
        }
    }

    /// Returns the set of packages for it; `None` for emulated displays and other vendors.
    fn set(&self) -> Option<Set> {
        match (self.vendor, self.device) {
            // NVIDIA's ids increase with the generations. TensorRT for RTX supports Ampere (GA10x), Ada and Blackwell
            // (GB20x): not GA100, Hopper and GB10x, which are between them.
            (NVIDIA, 0x2200..=0x22ff | 0x2400..=0x28ff | 0x2b00..) => Some(Set::Rtx),
            // CUDA 13 supports Turing and later.
            (NVIDIA, 0x1e00..) => Some(Set::Cuda),
            (NVIDIA | AMD | INTEL, _) => Some(Set::Webgpu),
            _ => None,
        }
    }
}

/// Parses `0x030000`.
fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// Returns the version of the driver in its first line: the first word of numbers with points between.
fn driver_version(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        word.contains('.')
            && word.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    text.lines().next()?.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(root: &Path, address: &str, class: &str, ids: (&str, &str)) {
        let folder = root.join("sys/bus/pci/devices").join(address);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in [("class", class), ("vendor", ids.0), ("device", ids.1)] {
            fs::write(folder.join(name), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn gpus_are_the_display_controllers_on_the_bus() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Adapters::below(root.path()), Adapters { list: None, nvidia_driver: None });
        device(root.path(), "0000:00:1f.3", "0x040300", ("0x8086", "0x51c8"));
        assert_eq!(Adapters::below(root.path()).list, Some(Vec::new()));
        device(root.path(), "0000:01:00.0", "0x030000", ("0x10de", "0x2684"));
        device(root.path(), "0000:00:02.0", "0x030000", ("0x8086", "0xa780"));
        let found = Adapters::below(root.path());
        let names: Vec<String> = found.list.iter().flatten().map(Adapter::name).collect();
        assert_eq!(names, ["Intel (8086:a780)", "NVIDIA (10de:2684)"]);
        assert!(found.set() == Some(Set::Rtx) && found.lacks_nvidia_driver());
    }

    #[test]
    fn nvidia_driver_reports_its_version_and_the_product() {
        let root = tempfile::tempdir().unwrap();
        device(root.path(), "0000:01:00.0", "0x030200", ("0x10de", "0x2330"));
        let driver = root.path().join("proc/driver/nvidia");
        fs::create_dir_all(driver.join("gpus/0000:01:00.0")).unwrap();
        let version = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (x@y)  Sun\n\
                       GCC version:  gcc version 12.2.0\n";
        fs::write(driver.join("version"), version).unwrap();
        let information = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 77\n";
        fs::write(driver.join("gpus/0000:01:00.0/information"), information).unwrap();
        let found = Adapters::below(root.path());
        assert_eq!(found.nvidia_driver.as_deref(), Some("580.65.06"));
        assert_eq!(found.list.as_ref().unwrap()[0].name(), "NVIDIA H100 80GB HBM3 (10de:2330)");
        assert!(found.set() == Some(Set::Cuda) && !found.lacks_nvidia_driver());
    }

    #[test]
    fn the_set_depends_on_the_generation() {
        let set = |vendor, device| Adapter { address: String::new(), vendor, device, model: None }.set();
        for (device, expected) in [
            (0x1b06, Set::Webgpu), // GTX 1080 Ti
            (0x1e04, Set::Cuda),   // RTX 2080 Ti
            (0x20b0, Set::Cuda),   // A100
            (0x2204, Set::Rtx),    // RTX 3090
            (0x2330, Set::Cuda),   // H100
            (0x2684, Set::Rtx),    // RTX 4090
            (0x27b8, Set::Rtx),    // L4
            (0x2901, Set::Cuda),   // B200
            (0x2b85, Set::Rtx),    // RTX 5090
        ] {
            assert_eq!(set(NVIDIA, device), Some(expected), "{device:x}");
        }
        assert_eq!((set(AMD, 0x744c), set(INTEL, 0xa780)), (Some(Set::Webgpu), Some(Set::Webgpu)));
        // An emulated display.
        assert_eq!(set(0x1234, 0x1111), None);
    }
}

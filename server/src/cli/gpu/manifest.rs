//! The wheels of each set of packages, as `wheels.toml` lists them.

use std::collections::BTreeMap;
use std::path::Path;

use clap::ValueEnum;
use dreamframe::{Error, ErrorKind, Result};
use serde::Deserialize;

/// A set of packages that are installed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Set {
    /// ONNX Runtime and TensorRT for RTX, for NVIDIA's series RTX 30 and later
    Rtx,
    /// ONNX Runtime, CUDA 13 and cuDNN 9, for NVIDIA's GPUs of the generation Turing and later
    Cuda,
    /// ONNX Runtime and WebGPU, for GPUs with Vulkan, Direct3D 12 or Metal
    Webgpu,
    /// ONNX Runtime alone, for the CPU; on macOS also for Core ML
    Cpu,
}

impl Set {
    /// Returns its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rtx => "rtx",
            Self::Cuda => "cuda",
            Self::Webgpu => "webgpu",
            Self::Cpu => "cpu",
        }
    }
}

/// A wheel, which is a zip file, and what is unpacked from it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wheel {
    /// The Python package.
    pub(super) package: String,
    pub(super) version: String,
    /// The system and the processor, as in [`platform`].
    platform: String,
    /// The file name.
    pub(super) file: String,
    /// SHA-256 of the file, in hexadecimal digits.
    pub(super) sha256: String,
    /// The size of the file.
    pub(super) bytes: u64,
    /// The size of all files that are unpacked.
    pub(super) unpacked_bytes: u64,
    pub(super) licence: String,
    /// Paths in the wheel of the libraries.
    pub(super) libraries: Vec<String>,
    /// Paths in the wheel of the licences.
    pub(super) documents: Vec<String>,
    /// Further names of libraries: the name and the library's.
    #[serde(default)]
    pub(super) links: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// The packages of each set, in the order of installation.
    sets: BTreeMap<String, Vec<String>>,
    wheels: Vec<Wheel>,
}

/// Returns the system and the processor of this program: `linux-x86_64`.
pub(super) fn platform() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Returns the wheels of `set` for `platform`.
///
/// # Errors
///
/// `Unsupported` if a package of the set has no wheel for the platform.
pub(super) fn wheels(set: Set, platform: &str) -> Result<Vec<Wheel>> {
    let manifest = Manifest::read()?;
    let packages = manifest.sets.get(set.name()).map(Vec::as_slice).unwrap_or_default();
    let wheels = packages.iter().map(|package| {
        let wheel = manifest.wheels.iter().find(|wheel| wheel.platform == platform && wheel.package == *package);
        wheel.cloned().ok_or_else(|| {
            let platforms: Vec<&str> = manifest
                .wheels
                .iter()
                .filter(|wheel| wheel.package == *package)
                .map(|wheel| &*wheel.platform)
                .collect();
            let text =
                format!("package {package}: got the platform {platform}, expected one of {}", platforms.join(", "));
            Error::new(ErrorKind::Unsupported, text)
        })
    });
    wheels.collect()
}

impl Manifest {
    fn read() -> Result<Self> {
        toml::from_str(include_str!("wheels.toml"))
            .map_err(|error| Error::new(ErrorKind::Internal, "the list of wheels is invalid").with_source(error))
    }
}

impl Wheel {
    /// Returns the platform tags of the file name, one of which pip must be given.
    pub(super) fn tags(&self) -> impl Iterator<Item = &str> {
        let stem = self.file.strip_suffix(".whl").unwrap_or(&self.file);
        stem.rsplit('-').next().unwrap_or_default().split('.')
    }

    /// Returns the requirement of pip that this wheel alone satisfies.
    pub(super) fn requirement(&self) -> String {
        format!("{}=={} --hash=sha256:{}", self.package, self.version, self.sha256)
    }

    /// Returns the page that has the file.
    pub(super) fn page(&self) -> String {
        format!("https://pypi.org/project/{}/{}/#files", self.package, self.version)
    }
}

/// Returns the last part of a path in a wheel, which is the name of the unpacked file.
pub(super) fn file_name(path: &str) -> Option<&str> {
    Path::new(path).file_name().and_then(|name| name.to_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX: &str = "linux-x86_64";

    #[test]
    fn every_set_has_its_wheels_on_linux_and_onnx_runtime_is_first() {
        for set in Set::value_variants() {
            let wheels = wheels(*set, LINUX).unwrap();
            assert!(wheels[0].libraries.iter().any(|path| path.contains("/libonnxruntime.so.")), "{set:?}");
            // Libraries are unpacked into one folder.
            let mut names: Vec<&str> =
                wheels.iter().flat_map(|wheel| &wheel.libraries).filter_map(|path| file_name(path)).collect();
            names.extend(wheels.iter().flat_map(|wheel| &wheel.links).map(|(name, _)| name.as_str()));
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{set:?}: {names:?}");
        }
        assert_eq!(Manifest::read().unwrap().sets.len(), Set::value_variants().len());
    }

    #[test]
    fn every_wheel_is_one_version_of_its_package_and_its_licence_is_unpacked() {
        for wheel in Manifest::read().unwrap().wheels {
            let prefix = format!("{}-{}-", wheel.package.replace('-', "_"), wheel.version);
            assert!(wheel.file.starts_with(&prefix) && wheel.file.ends_with(".whl"), "{}", wheel.file);
            assert!(wheel.sha256.len() == 64 && wheel.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()), "{wheel:?}");
            assert!(wheel.bytes > 0 && wheel.unpacked_bytes > 0, "{wheel:?}");
            assert!(!wheel.licence.is_empty() && !wheel.documents.is_empty(), "{wheel:?}");
            let libraries: Vec<_> = wheel.libraries.iter().filter_map(|path| file_name(path)).collect();
            assert_eq!(libraries.len(), wheel.libraries.len(), "{wheel:?}");
            assert!(wheel.links.iter().all(|(_, library)| libraries.contains(&library.as_str())), "{wheel:?}");
        }
    }

    #[test]
    fn a_platform_without_a_wheel_is_refused_with_those_that_have_one() {
        let refused = wheels(Set::Rtx, "macos-aarch64").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        let text = "package onnxruntime-ep-nv-tensorrt-rtx-cu13: got the platform macos-aarch64, expected one of \
                    linux-x86_64, windows-x86_64";
        assert_eq!(refused.to_string(), text);
    }

    #[test]
    fn the_tags_are_those_of_the_file_name() {
        let cuda = wheels(Set::Cuda, LINUX).unwrap();
        let blas = cuda.iter().find(|wheel| wheel.package == "nvidia-cublas").unwrap();
        assert_eq!(blas.tags().collect::<Vec<_>>(), ["manylinux1_x86_64", "manylinux_2_5_x86_64"]);
    }
}

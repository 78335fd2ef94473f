//! What differs between execution providers: one row each.

use super::super::{Dtype, Provider};
use super::dialect::Dialect;

/// How a provider is part of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packaging {
    /// In every build of the library.
    BuiltIn,
    /// In other builds of the library, or in a library of this name next to it.
    Build(&'static str),
    /// A plug-in: a library of this name, next to ONNX Runtime or in the Python package of that name.
    PlugIn {
        /// The library's name.
        library: &'static str,
        /// The folder of the Python package.
        package: &'static str,
    },
}

/// Where the values of a provider's networks are between runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// In memory of the host: the provider copies operands at each run, if its device has its own memory. Also for devices
    /// whose memory has no addresses.
    Host,
    /// In memory of CUDA.
    Cuda,
    /// In the memory of the plug-in's device, which has addresses.
    PlugIn,
}

/// A provider.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub provider: Provider,
    /// Its name in ONNX Runtime.
    pub ep_name: &'static str,
    /// How it is part of ONNX Runtime.
    pub packaging: Packaging,
    /// The operating systems that it exists for, as in [`std::env::consts::OS`].
    pub systems: &'static [&'static str],
    /// The number format of [`Dtype::Auto`].
    pub dtype: Dtype,
    /// The operators of its graphs.
    pub(super) dialect: Dialect,
    /// Where values are between runs.
    pub memory: DeviceKind,
    /// The Python package that contains it, for messages.
    pub package: &'static str,
    /// The libraries that those of the provider depend on, in the order of loading, by their names up to a version. They are
    /// not in a folder that the system's loader searches. Those of the graphics driver are.
    pub dependencies: &'static [&'static str],
    /// The name of the option that captures the runs of a network as CUDA graphs. Empty if there is none. It is always set,
    /// since the provider's own default may be to capture.
    pub(super) graph_option: &'static str,
    /// Whether it compiles networks, for so long that the result is worth a file, to models that it loads again.
    pub(super) compiles: bool,
    /// The name of the option with the index of the device. Empty if the index is passed in another way, or there is one
    /// device only.
    device_option: &'static str,
    /// Options with fixed values.
    options: &'static [(&'static str, &'static str)],
}

#[cfg(not(windows))]
const CUDA_LIBRARIES: &[&str] =
    &["libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libnvrtc.so.13", "libcudnn.so.9"];
#[cfg(windows)]
const CUDA_LIBRARIES: &[&str] = &[
    "cudart64_13.dll",
    "cublasLt64_13.dll",
    "cublas64_13.dll",
    "curand64_10.dll",
    "nvrtc64_130_0.dll",
    "cudnn64_9.dll",
];
// On Windows they are found next to the plug-in.
const TENSORRT_RTX_LIBRARIES: &[&str] =
    if cfg!(windows) { &[] } else { &["libcudart.so.13", "libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"] };

const EVERY_SYSTEM: &[&str] = &["linux", "windows", "macos"];

const ROWS: [Row; 9] = [
    Row {
        provider: Provider::TensorRtRtx,
        ep_name: "NvTensorRTRTXExecutionProvider",
        packaging: Packaging::PlugIn {
            library: "onnxruntime_providers_nv_tensorrt_rtx",
            package: "onnxruntime_ep_nv_tensorrt_rtx",
        },
        systems: &["linux", "windows"],
        dtype: Dtype::F16,
        dialect: Dialect::Standard,
        memory: DeviceKind::PlugIn,
        package: "onnxruntime-ep-nv-tensorrt-rtx-cu13",
        dependencies: TENSORRT_RTX_LIBRARIES,
        graph_option: "enable_cuda_graph",
        compiles: true,
        device_option: "",
        options: &[],
    },
    Row {
        provider: Provider::Cuda,
        ep_name: "CUDAExecutionProvider",
        packaging: Packaging::Build("onnxruntime_providers_cuda"),
        systems: &["linux", "windows"],
        dtype: Dtype::F16,
        dialect: Dialect::Cuda,
        memory: DeviceKind::Cuda,
        package: "onnxruntime-gpu",
        dependencies: CUDA_LIBRARIES,
        graph_option: "enable_cuda_graph",
        compiles: false,
        device_option: "device_id",
        // Convolutions on tensor cores are channels-last. Their bias is not fused: cuDNN compiles kernels for that at the first
        // run, for a second and more of each network, and they are no faster on the whole.
        options: &[("prefer_nhwc", "1"), ("fuse_conv_bias", "0"), ("cudnn_conv_algo_search", "HEURISTIC")],
    },
    Row {
        provider: Provider::TensorRt,
        ep_name: "TensorrtExecutionProvider",
        packaging: Packaging::Build("onnxruntime_providers_tensorrt"),
        systems: &["linux", "windows"],
        dtype: Dtype::F16,
        dialect: Dialect::Standard,
        memory: DeviceKind::Cuda,
        package: "onnxruntime-gpu",
        dependencies: CUDA_LIBRARIES,
        graph_option: "trt_cuda_graph_enable",
        compiles: true,
        device_option: "device_id",
        options: &[("trt_fp16_enable", "1"), ("trt_builder_optimization_level", "3")],
    },
    Row {
        provider: Provider::CoreMl,
        ep_name: "CoreMLExecutionProvider",
        packaging: Packaging::Build("onnxruntime_providers_coreml"),
        systems: &["macos"],
        dtype: Dtype::F16,
        dialect: Dialect::Basic,
        memory: DeviceKind::Host,
        package: "onnxruntime",
        dependencies: &[],
        graph_option: "",
        compiles: false,
        device_option: "",
        options: &[("ModelFormat", "MLProgram"), ("RequireStaticInputShapes", "1")],
    },
    Row {
        provider: Provider::MiGraphX,
        ep_name: "MIGraphXExecutionProvider",
        packaging: Packaging::Build("onnxruntime_providers_migraphx"),
        systems: &["linux", "windows"],
        dtype: Dtype::F16,
        dialect: Dialect::Basic,
        memory: DeviceKind::Host,
        package: "onnxruntime-migraphx",
        dependencies: &[],
        graph_option: "",
        compiles: false,
        device_option: "",
        options: &[],
    },
    Row {
        provider: Provider::DirectMl,
        ep_name: "DmlExecutionProvider",
        packaging: Packaging::Build("DirectML"),
        systems: &["windows"],
        dtype: Dtype::F16,
        dialect: Dialect::Basic,
        memory: DeviceKind::Host,
        package: "onnxruntime-directml",
        dependencies: &[],
        graph_option: "",
        compiles: false,
        device_option: "",
        options: &[],
    },
    Row {
        provider: Provider::WebGpu,
        ep_name: "WebGpuExecutionProvider",
        packaging: Packaging::PlugIn { library: "onnxruntime_providers_webgpu", package: "onnxruntime_ep_webgpu" },
        systems: EVERY_SYSTEM,
        dtype: Dtype::F16,
        dialect: Dialect::Standard,
        memory: DeviceKind::Host,
        package: "onnxruntime-ep-webgpu",
        dependencies: &[],
        graph_option: "",
        compiles: false,
        device_option: "",
        options: &[],
    },
    Row {
        provider: Provider::OpenVino,
        ep_name: "OpenVINOExecutionProvider",
        packaging: Packaging::Build("onnxruntime_providers_openvino"),
        systems: &["linux", "windows"],
        dtype: Dtype::F32,
        dialect: Dialect::Basic,
        memory: DeviceKind::Host,
        package: "onnxruntime-openvino",
        dependencies: &[],
        graph_option: "",
        compiles: false,
        device_option: "",
        options: &[("device_type", "CPU")],
    },
    Row {
        provider: Provider::Cpu,
        ep_name: "CPUExecutionProvider",
        packaging: Packaging::BuiltIn,
        systems: EVERY_SYSTEM,
        dtype: Dtype::F32,
        dialect: Dialect::Standard,
        memory: DeviceKind::Host,
        package: "onnxruntime",
        dependencies: &[],
        graph_option: "",
        compiles: false,
        device_option: "",
        options: &[],
    },
];

impl Row {
    /// Returns the row of a provider; that of the CPU for [`Provider::Auto`].
    pub fn of(provider: Provider) -> &'static Self {
        static TABLE: [Row; 9] = ROWS;
        TABLE.iter().find(|row| row.provider == provider).unwrap_or(&TABLE[TABLE.len() - 1])
    }

    /// Returns the options of a session on the device `index`, by name, with or without CUDA graphs.
    pub fn options(&self, index: u32, captures: bool) -> Vec<(String, String)> {
        let option = |name: &str, value: &str| (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()));
        let device = option(self.device_option, &index.to_string());
        let graphs = option(self.graph_option, if captures { "1" } else { "0" });
        let fixed = self.options.iter().filter_map(|&(name, value)| option(name, value));
        device.into_iter().chain(graphs).chain(fixed).collect()
    }

    /// Returns whether runs of networks can be captured as CUDA graphs.
    pub fn has_graphs(&self) -> bool {
        !self.graph_option.is_empty()
    }

    /// Returns the name of the provider's library on this system; `None` if it is in ONNX Runtime itself.
    pub fn library(&self) -> Option<String> {
        match self.packaging {
            Packaging::BuiltIn => None,
            Packaging::Build(library) | Packaging::PlugIn { library, .. } => {
                let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
                Some(format!("{prefix}{library}{suffix}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_has_its_row_in_the_order_in_which_auto_tries_them() {
        assert_eq!(ROWS.map(|row| row.provider), Provider::ALL);
        assert!(Provider::ALL.iter().all(|&provider| Row::of(provider).provider == provider));
        assert_eq!(Row::of(Provider::Auto).provider, Provider::Cpu);
    }

    #[test]
    fn the_index_of_the_device_is_an_option_of_providers_that_have_several() {
        let options = Row::of(Provider::Cuda).options(3, false);
        assert!(options.contains(&("device_id".to_owned(), "3".to_owned())), "{options:?}");
        // Sessions of plug-ins are made for a device.
        for provider in [Provider::Cpu, Provider::TensorRtRtx, Provider::WebGpu] {
            assert!(Row::of(provider).options(3, false).iter().all(|(_, value)| value != "3"), "{provider}");
        }
    }

    #[test]
    fn runs_are_captured_only_if_that_is_requested() {
        for provider in Provider::ALL {
            let row = Row::of(provider);
            let of = |captures| row.options(0, captures).into_iter().filter(|(name, _)| name == row.graph_option);
            let values = [false, true].map(|captures| of(captures).map(|(_, value)| value).collect::<Vec<_>>());
            let expected: [&[&str]; 2] = if row.has_graphs() { [&["0"], &["1"]] } else { [&[], &[]] };
            assert_eq!(values, expected, "{provider}");
        }
    }
}

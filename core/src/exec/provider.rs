//! Execution providers of ONNX Runtime, by name.

/// An execution provider of ONNX Runtime: a kind of device, with the library of its kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Provider {
    /// The first one that works on this machine, in the order of [`Provider::ALL`]; the CPU's is last.
    #[default]
    Auto,
    /// Processors, in ONNX Runtime itself. For comparisons: the executor `cpu` is faster.
    Cpu,
    /// NVIDIA GPUs, with CUDA 12 or 13 and cuDNN 9.
    Cuda,
    /// NVIDIA GPUs of the series RTX 30 and later, and of their generations for servers; not A100 and H100.
    TensorRtRtx,
    /// NVIDIA GPUs, with TensorRT 10.
    TensorRt,
    /// GPUs with Vulkan, Direct3D 12 or Metal.
    WebGpu,
    /// GPUs on Windows, with DirectX 12.
    DirectMl,
    /// Apple's GPUs and neural engines.
    CoreMl,
    /// AMD GPUs, with ROCm.
    MiGraphX,
    /// Intel's processors, GPUs and NPUs.
    OpenVino,
}

impl Provider {
    /// All but [`Auto`](Self::Auto), in the order in which it tries them: by published speed on the devices that several
    /// of them support.
    pub const ALL: [Self; 9] = [
        Self::TensorRtRtx,
        Self::Cuda,
        Self::TensorRt,
        Self::CoreMl,
        Self::MiGraphX,
        Self::DirectMl,
        Self::WebGpu,
        Self::OpenVino,
        Self::Cpu,
    ];
}

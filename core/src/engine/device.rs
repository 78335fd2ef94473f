//! The device that networks run on.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::options::{EngineOptions, ExecutorKind, OnnxOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::cpu::{CpuExecutor, CpuOptions, fastest_dtype_of};
use crate::exec::{Dtype, Executor};

/// A device that networks run on, with the number format of their values. Cheap to clone: engines that are built with
/// clones share its threads and its memory.
///
/// Without one, an engine makes its own from [`EngineOptions`](super::EngineOptions). Engines of a process share the
/// threads of the processor in any case, if they use as many.
///
/// ```
/// use dreamframe::{Device, Dtype, Engine};
///
/// # fn main() -> dreamframe::Result<()> {
/// let device = Device::cpu(Dtype::Auto, None)?;
/// let first = Engine::builder().device(device.clone()).build()?;
/// let second = Engine::builder().device(device).build()?;
/// assert_eq!(first.options().dtype, second.options().dtype);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Device {
    executor: Arc<dyn Executor>,
}

impl Device {
    /// Returns the processor of this machine, with `threads` threads; with as many as the process may use for `None`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for 0 or more than 1024 threads, `Unsupported` for a dtype that the processor lacks.
    pub fn cpu(dtype: Dtype, threads: Option<usize>) -> Result<Self> {
        let threads = threads.map(|count| {
            let text = || "threads: got 0, expected at least 1, or None for as many as the machine has";
            NonZeroUsize::new(count).ok_or_else(|| Error::new(ErrorKind::InvalidArgument, text()))
        });
        let options = CpuOptions { threads: threads.transpose()?, dtype, ..CpuOptions::default() };
        Ok(Self::of(Arc::new(CpuExecutor::new(options)?)))
    }

    /// Returns the slow reference executor, which runs one operation at a time in `f32`.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the library was built without the feature `reference`.
    pub fn reference() -> Result<Self> {
        #[cfg(any(test, feature = "reference"))]
        return Ok(Self::of(Arc::new(crate::exec::reference::ReferenceExecutor)));
        #[cfg(not(any(test, feature = "reference")))]
        Err(Error::new(ErrorKind::Unsupported, "executor reference needs the feature `reference`"))
    }

    /// Returns the device of an execution provider of ONNX Runtime, with `threads` threads of the processor; with as many
    /// as the machine has for `None`. For [`Provider::Auto`](super::Provider::Auto) it is the first that works. `dtype` is
    /// `F32`, `F16`, or `Auto` for the provider's own.
    ///
    /// # Errors
    ///
    /// `NotFound` if ONNX Runtime is not installed, or a plug-in is missing; `Unsupported` for another version, a provider
    /// without a device here, another dtype, or without the feature `onnx`; `InvalidArgument` for 0 threads, or if the
    /// process has loaded another library.
    pub fn onnx(options: &OnnxOptions, dtype: Dtype, threads: Option<usize>) -> Result<Self> {
        #[cfg(feature = "onnx")]
        return super::onnx_devices::open(options, dtype, threads).map(|(executor, _)| Self::of(executor));
        #[cfg(not(feature = "onnx"))]
        return Err(Self::without_onnx(options, dtype, threads));
    }

    #[cfg(not(feature = "onnx"))]
    fn without_onnx(_: &OnnxOptions, _: Dtype, _: Option<usize>) -> Error {
        Error::new(ErrorKind::Unsupported, "executor onnx needs the feature `onnx`")
    }

    /// Returns the device that options name, and replaces the automatic choices in them by those that were made.
    /// `is_calibrated` returns whether the model has a calibration for int8.
    pub(super) fn of_options(options: &mut EngineOptions, is_calibrated: impl FnOnce() -> bool) -> Result<Self> {
        let EngineOptions { executor, onnx, dtype, threads, .. } = options;
        match *executor {
            ExecutorKind::Cpu => Self::cpu_for(*dtype, *threads, is_calibrated),
            #[cfg(feature = "onnx")]
            ExecutorKind::Auto | ExecutorKind::Onnx => {
                let opened = if *executor == ExecutorKind::Auto {
                    super::onnx_devices::open_gpu(onnx, *dtype, *threads)
                } else {
                    super::onnx_devices::open(onnx, *dtype, *threads).map(Some)
                };
                let Some((device, provider)) = opened? else {
                    *executor = ExecutorKind::Cpu;
                    return Self::cpu_for(*dtype, *threads, is_calibrated);
                };
                (*executor, onnx.provider) = (ExecutorKind::Onnx, provider);
                Ok(Self::of(device))
            }
            #[cfg(not(feature = "onnx"))]
            ExecutorKind::Auto => {
                *executor = ExecutorKind::Cpu;
                Self::cpu_for(*dtype, *threads, is_calibrated)
            }
            #[cfg(not(feature = "onnx"))]
            ExecutorKind::Onnx => Self::onnx(onnx, *dtype, *threads),
            ExecutorKind::Reference if matches!(*dtype, Dtype::Auto | Dtype::F32) => Self::reference(),
            ExecutorKind::Reference => {
                let text = format!("dtype: got {dtype} for the executor {executor}, expected f32");
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    /// The processor, with the automatic dtype for a model.
    fn cpu_for(dtype: Dtype, threads: Option<usize>, is_calibrated: impl FnOnce() -> bool) -> Result<Self> {
        let chosen = if dtype == Dtype::Auto { fastest_dtype_of(is_calibrated) } else { dtype };
        Self::cpu(chosen, threads)
    }

    /// Wraps an executor.
    pub(crate) fn of(executor: Arc<dyn Executor>) -> Self {
        Self { executor }
    }

    /// Returns its executor.
    pub(super) fn executor(self) -> Arc<dyn Executor> {
        self.executor
    }

    /// Returns its name and what it uses of this machine, in words: `cpu (avx512, 8 threads)`.
    pub fn description(&self) -> String {
        self.executor.describe()
    }

    /// Returns the number format of weights and activations; never [`Dtype::Auto`].
    pub fn dtype(&self) -> Dtype {
        self.executor.dtype()
    }

    /// Returns how many threads work on a frame, with the one that calls.
    pub fn threads(&self) -> usize {
        self.executor.threads()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_a_number_format_that_the_device_has() {
        let device = Device::cpu(Dtype::Auto, Some(2)).unwrap();
        assert!(matches!(device.dtype(), Dtype::F32 | Dtype::Bf16) && device.threads() == 2, "{device:?}");
        let mut reference = EngineOptions::default().with_executor(ExecutorKind::Reference);
        assert_eq!(Device::of_options(&mut reference, || false).unwrap().dtype(), Dtype::F32);
    }

    #[test]
    fn what_the_device_lacks_is_refused_with_its_name() {
        let refused = Device::cpu(Dtype::F16, None).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert_eq!(refused.to_string(), "dtype: got f16 for the executor cpu, expected auto, f32, bf16 or int8");
        let mut reference = EngineOptions::default().with_executor(ExecutorKind::Reference).with_dtype(Dtype::Bf16);
        let refused = Device::of_options(&mut reference, || false).unwrap_err();
        assert_eq!(refused.to_string(), "dtype: got bf16 for the executor reference, expected f32");
        assert_eq!(Device::cpu(Dtype::F32, Some(0)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[cfg(feature = "onnx")]
    #[test]
    fn auto_takes_the_cpu_for_formats_of_the_cpu_and_refuses_a_library_that_does_not_exist() {
        let folder = tempfile::tempdir().unwrap();
        let onnx = OnnxOptions::default().with_library(Some(folder.path().to_owned()));
        let mut options = EngineOptions::default().with_executor(ExecutorKind::Auto).with_onnx(onnx);
        let refused = Device::of_options(&mut options, || false).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
        assert!(refused.to_string().contains(&folder.path().display().to_string()), "{refused}");
        options.dtype = Dtype::Int8;
        // The processor may lack the format, which is then the error of the executor `cpu`.
        if let Err(refused) = Device::of_options(&mut options, || false) {
            assert_eq!(refused.kind(), ErrorKind::Unsupported);
        }
        assert_eq!(options.executor, ExecutorKind::Cpu);
    }
}

//! The device that networks run on.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::options::ExecutorKind;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::cpu::{CpuExecutor, CpuOptions};
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

    /// Returns ONNX Runtime's CPU provider, with `threads` threads; with as many as the machine has for `None`. `library` is
    /// the path of ONNX Runtime 1.24 or newer, which is loaded once per process. `dtype` is `Auto`, `F32` or `F16`.
    ///
    /// For comparisons: [`cpu`](Self::cpu) is faster. Cached attention is not supported.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such file, `Unsupported` if it is another library or for another dtype, `InvalidArgument`
    /// for 0 threads or if the process has loaded another library.
    #[cfg(feature = "onnx")]
    pub fn onnx(library: impl AsRef<std::path::Path>, dtype: Dtype, threads: Option<usize>) -> Result<Self> {
        let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = threads.unwrap_or_else(all);
        if threads == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "threads: got 0, expected at least 1"));
        }
        Ok(Self::of(Arc::new(crate::exec::onnx::OnnxExecutor::new(library.as_ref(), dtype, threads)?)))
    }

    /// Returns the device that options name.
    pub(super) fn named(kind: ExecutorKind, dtype: Dtype, threads: Option<usize>) -> Result<Self> {
        match kind {
            ExecutorKind::Cpu => Self::cpu(dtype, threads),
            ExecutorKind::Reference if matches!(dtype, Dtype::Auto | Dtype::F32) => Self::reference(),
            ExecutorKind::Reference => {
                let text = format!("dtype: got {dtype} for the executor {kind}, expected f32");
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
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
        assert_eq!(Device::named(ExecutorKind::Reference, Dtype::Auto, None).unwrap().dtype(), Dtype::F32);
    }

    #[test]
    fn what_the_device_lacks_is_refused_with_its_name() {
        let refused = Device::cpu(Dtype::F16, None).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert_eq!(refused.to_string(), "dtype: got f16 for the executor cpu, expected auto, f32, bf16 or int8");
        let refused = Device::named(ExecutorKind::Reference, Dtype::Bf16, None).unwrap_err();
        assert_eq!(refused.to_string(), "dtype: got bf16 for the executor reference, expected f32");
        assert_eq!(Device::cpu(Dtype::F32, Some(0)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

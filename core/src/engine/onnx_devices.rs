//! Finds ONNX Runtime and the execution providers that work on this machine.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::options::OnnxOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::onnx::{OnnxConfig, OnnxExecutor, Packaging, Row, preload};
use crate::exec::{Dtype, Executor, Provider};
use crate::load::OnnxRuntimeFiles;

/// An executor and its provider, which is not [`Provider::Auto`].
type Opened = (Arc<dyn Executor>, Provider);

/// Opens the provider of `options`; for [`Provider::Auto`], the first that works.
///
/// # Errors
///
/// Those of [`Device::onnx`](super::Device::onnx).
pub(super) fn open(options: &OnnxOptions, dtype: Dtype, threads: Option<usize>) -> Result<Opened> {
    let (files, threads) = (OnnxRuntimeFiles::find(options.library.as_deref())?, count(threads)?);
    let one = |provider| open_one(&files, provider, options, dtype, threads);
    if options.provider != Provider::Auto {
        return one(options.provider);
    }
    match first_that_works(Provider::ALL, one) {
        Some(opened) => Ok(opened),
        // The CPU's exists in every build: its error is that of the library.
        None => one(Provider::Cpu),
    }
}

/// Opens the provider that `options` name, or the first of a GPU that works; `None` if none works, or ONNX Runtime is not
/// installed.
///
/// # Errors
///
/// Those of [`Device::onnx`](super::Device::onnx) if the options name a provider; `NotFound` if they name a library that
/// does not exist.
pub(super) fn open_gpu(options: &OnnxOptions, dtype: Dtype, threads: Option<usize>) -> Result<Option<Opened>> {
    if options.provider != Provider::Auto {
        return open(options, dtype, threads).map(Some);
    }
    // The GPU's providers do not compute in these.
    if matches!(dtype, Dtype::Bf16 | Dtype::Int8) {
        return Ok(None);
    }
    let threads = count(threads)?;
    let files = match OnnxRuntimeFiles::find(options.library.as_deref()) {
        Ok(files) => files,
        Err(error) if options.library.is_some() => return Err(error),
        Err(error) => {
            tracing::debug!(%error, "ONNX Runtime is not installed");
            return Ok(None);
        }
    };
    let one = |provider| open_one(&files, provider, options, dtype, threads);
    Ok(first_that_works(Provider::ALL.into_iter().filter(is_automatic), one))
}

/// Returns whether the executor `auto` takes the provider: those of processors are slower than the executor `cpu`.
fn is_automatic(provider: &Provider) -> bool {
    !matches!(provider, Provider::Cpu | Provider::OpenVino)
}

fn first_that_works(
    providers: impl IntoIterator<Item = Provider>,
    open: impl Fn(Provider) -> Result<Opened>,
) -> Option<Opened> {
    providers.into_iter().find_map(|provider| match open(provider) {
        Ok(opened) => {
            tracing::info!(%provider, "networks run on ONNX Runtime");
            Some(opened)
        }
        Err(error) => {
            tracing::debug!(%provider, %error, "provider does not work");
            None
        }
    })
}

fn open_one(
    files: &OnnxRuntimeFiles,
    provider: Provider,
    options: &OnnxOptions,
    dtype: Dtype,
    threads: usize,
) -> Result<Opened> {
    let row = Row::of(provider);
    let (library, provider, device_index) = (files.library().to_owned(), row.provider, options.device_index);
    let cuda_graphs = options.cuda_graphs;
    let key = OpenKey { library, provider, device_index, dtype, threads, cuda_graphs };
    let mut known = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|(_, executor)| executor.strong_count() > 0);
    if let Some(executor) = known.iter().find(|(other, _)| *other == key).and_then(|(_, executor)| executor.upgrade()) {
        return Ok((executor, row.provider));
    }
    let plug_in = plug_in(files, row)?;
    let (library, plug_in) = (files.library(), plug_in.as_deref());
    let config = OnnxConfig { library, provider, plug_in, device_index, dtype, threads, cuda_graphs };
    let executor = Arc::new(OnnxExecutor::new(&config)?);
    known.push((key, Arc::downgrade(&executor)));
    Ok((executor, row.provider))
}

/// What an executor was opened with.
#[derive(Debug, PartialEq, Eq)]
struct OpenKey {
    library: PathBuf,
    provider: Provider,
    device_index: u32,
    dtype: Dtype,
    threads: usize,
    cuda_graphs: bool,
}

/// The executors in use: engines of a process share the device's networks, and with them the weights.
static OPEN: Mutex<Vec<(OpenKey, Weak<OnnxExecutor>)>> = Mutex::new(Vec::new());

/// Returns the library of a provider that is a plug-in, and loads what the provider depends on.
///
/// # Errors
///
/// `NotFound` with the file and the Python package that has it.
fn plug_in(files: &OnnxRuntimeFiles, row: &Row) -> Result<Option<PathBuf>> {
    let path = match row.packaging {
        Packaging::BuiltIn | Packaging::Build(_) => None,
        Packaging::PlugIn { package, .. } => {
            let file = row.library().unwrap_or_default();
            Some(files.provider(&file, Some(package)).ok_or_else(|| {
                let folder = files.library().parent().unwrap_or_else(|| Path::new("."));
                let text = format!(
                    "provider {}: got no {file} in {}, expected it there: the Python package {} has it",
                    row.provider,
                    folder.display(),
                    row.package
                );
                Error::new(ErrorKind::NotFound, text)
            })?)
        }
    };
    preload(&files.dependencies(row.dependencies, path.as_deref()));
    Ok(path)
}

fn count(threads: Option<usize>) -> Result<usize> {
    let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    match threads.unwrap_or_else(all) {
        0 => Err(Error::new(ErrorKind::InvalidArgument, "threads: got 0, expected at least 1")),
        threads => Ok(threads),
    }
}

/// ONNX Runtime on this machine, and its execution providers.
#[derive(Debug)]
#[non_exhaustive]
pub struct OnnxReport {
    /// The library.
    pub library: PathBuf,
    /// Its version, such as `1.32.0`; `None` if it cannot be loaded.
    pub version: Option<String>,
    /// All providers, in the order in which [`Provider::Auto`] tries them.
    pub providers: Vec<ProviderReport>,
}

/// An execution provider on this machine.
#[derive(Debug)]
#[non_exhaustive]
pub struct ProviderReport {
    /// The provider.
    pub provider: Provider,
    /// The Python package that has its libraries.
    pub package: &'static str,
    /// The number format that it runs in unless another is requested.
    pub dtype: Dtype,
    /// Whether a small network ran on its device, or why not.
    pub result: Result<()>,
}

impl OnnxReport {
    /// Loads ONNX Runtime, `library` or the one that [`OnnxOptions::library`] describes, and tries each of its providers.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not installed.
    pub fn gather(library: Option<&Path>) -> Result<Self> {
        let files = OnnxRuntimeFiles::find(library)?;
        let mut version = None;
        let providers = Provider::ALL.map(|provider| {
            let row = Row::of(provider);
            let result = plug_in(&files, row).and_then(|plug_in| {
                let (library, plug_in) = (files.library(), plug_in.as_deref());
                let (dtype, cuda_graphs) = (Dtype::Auto, false);
                let config = OnnxConfig { library, provider, plug_in, device_index: 0, dtype, threads: 1, cuda_graphs };
                let executor = OnnxExecutor::new(&config)?;
                version = Some(executor.version());
                Ok(())
            });
            ProviderReport { provider, package: row.package, dtype: row.dtype, result }
        });
        Ok(Self { library: files.library().to_owned(), version, providers: providers.into() })
    }

    /// Returns the provider that [`ExecutorKind::Auto`](super::ExecutorKind::Auto) selects: the first of a GPU that works.
    /// `None` if it selects the executor `cpu`.
    pub fn automatic(&self) -> Option<&ProviderReport> {
        self.providers.iter().find(|report| report.result.is_ok() && is_automatic(&report.provider))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_plug_in_is_an_error_with_its_file_and_package() {
        let folder = tempfile::tempdir().unwrap();
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        std::fs::write(folder.path().join(format!("{prefix}onnxruntime{suffix}")), b"").unwrap();
        let files = OnnxRuntimeFiles::find(Some(folder.path())).unwrap();
        let error = plug_in(&files, Row::of(Provider::WebGpu)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let (got, expected) = (error.to_string(), format!("{prefix}onnxruntime_providers_webgpu{suffix}"));
        assert!(got.contains(&expected) && got.contains("onnxruntime-ep-webgpu"), "{got}");
        std::fs::write(folder.path().join(&expected), b"").unwrap();
        assert_eq!(plug_in(&files, Row::of(Provider::WebGpu)).unwrap(), Some(folder.path().join(expected)));
        assert_eq!(plug_in(&files, Row::of(Provider::Cpu)).unwrap(), None);
    }
}

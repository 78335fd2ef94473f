//! Downloads of models, on a thread of their own.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use dreamframe::load::hub::{Hub, HubOptions, Progress};
use dreamframe::{Error, ErrorKind, FetchedModel};
use pyo3::prelude::*;

use crate::errors::{OrRaise, exception};
use crate::options::check_callable;
use crate::shared_state::lock;
use crate::{interpreter, log, params};

/// The time between two reports of progress, and the longest delay before Ctrl-C is noticed.
const REPORT_INTERVAL: Duration = Duration::from_millis(50);

/// The longest time that a cancelled call waits for the end of its download, which ends with the next piece: of a server
/// that sends none, the thread ends later.
const CANCEL_WAIT: Duration = Duration::from_secs(2);

/// The newest progress of a download: model, file, bytes so far, bytes in total.
type Report = (String, String, u64, u64);

/// What a download and its caller share.
#[derive(Default)]
struct Download {
    newest: Mutex<Option<Report>>,
    is_cancelled: AtomicBool,
}

impl Download {
    fn note(&self, progress: &Progress<'_>) -> ControlFlow<()> {
        let report = (progress.model.to_string(), progress.file.to_owned(), progress.bytes, progress.total);
        *lock(&self.newest) = Some(report);
        if self.is_cancelled.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Downloads the model `model_id`, and returns its path.
#[pyfunction]
#[pyo3(signature = (model_id: "str", progress: "Callable[[str, str, int, int], object] | None", /) -> "str")]
pub(crate) fn _fetch(py: Python<'_>, model_id: &str, progress: Option<&Bound<'_, PyAny>>) -> PyResult<PathBuf> {
    let id = model_id.parse().or_raise(py)?;
    download(py, progress, move |hub, download| hub.fetch(&id, &mut |progress| download.note(&progress)))
}

/// The id and the use of a model, its path or the error, and whether it is optional.
type Fetched = (String, String, Option<PathBuf>, Option<Py<PyAny>>, bool);

/// Downloads the models of parameters.
#[pyfunction]
#[pyo3(signature = (
    params: "StreamDiffusionParams | Mapping[str, typing.Any]",
    progress: "Callable[[str, str, int, int], object] | None",
    /,
) -> "list[tuple[str, str, str | None, DreamframeError | None, bool]]")]
pub(crate) fn _fetch_for(params: &Bound<'_, PyAny>, progress: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<Fetched>> {
    let py = params.py();
    let params = params::whole(params)?;
    let models =
        download(py, progress, move |hub, download| hub.fetch_for(&params, &mut |progress| download.note(&progress)))?;
    let fetched = |FetchedModel { id, field, result, optional, .. }| {
        let (path, error) = match result {
            Ok(path) => (Some(path), None),
            Err(error) => (None, Some(exception(py, &error).into_value(py).into_any())),
        };
        (id.to_string(), field, path, error, optional)
    };
    Ok(models.into_iter().map(fetched).collect())
}

/// Runs a download on a thread, and reports its progress to Python meanwhile.
///
/// # Errors
///
/// Those of the download; the exception of an interrupt or of `progress`, which cancel it.
fn download<T: Send + 'static>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    run: impl FnOnce(&Hub, &Download) -> dreamframe::Result<T> + Send + 'static,
) -> PyResult<T> {
    interpreter::check_not_forked().or_raise(py)?;
    check_callable("progress", progress)?;
    log::refresh(py);
    let hub = HubOptions::from_env().and_then(Hub::new).or_raise(py)?;
    let (shared, (sender, done)) = (Arc::new(Download::default()), channel());
    let downloading = shared.clone();
    // The caller may have stopped waiting.
    let work = move || drop(sender.send(run(&hub, &downloading)));
    let started = thread::Builder::new().name("dreamframe-fetch".into()).spawn(work);
    if let Err(error) = started {
        return Err(exception(py, &Error::new(ErrorKind::Device, "failed to start a thread").with_source(error)));
    }
    // A receiver may be used by one thread at a time only.
    let done = Mutex::new(done);
    let ended = follow(py, progress, &shared, &done);
    if ended.is_err() {
        shared.is_cancelled.store(true, Ordering::Relaxed);
        // The thread has the lock of the file until it ends.
        let _ = py.detach(|| lock(&done).recv_timeout(CANCEL_WAIT));
    }
    log::deliver(py);
    ended?.or_raise(py)
}

/// Waits for the end of a download.
fn follow<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    shared: &Download,
    done: &Mutex<Receiver<dreamframe::Result<T>>>,
) -> PyResult<dreamframe::Result<T>> {
    loop {
        let ended = py.detach(|| lock(done).recv_timeout(REPORT_INTERVAL));
        // Unlocked while Python runs: the download goes on.
        let report = lock(&shared.newest).take();
        if let (Some(report), Some(callback)) = (report, progress) {
            callback.call1(report)?;
        }
        match ended {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Err(Error::new(ErrorKind::Internal, "the download was lost to a bug of this library")));
            }
        }
    }
}

//! Work of the engine's thread for a stream: processing a frame, reporting progress.

use std::ops::ControlFlow;

use dreamframe::{Engine, FrameViewMut, PictureInfo};
use pyo3::prelude::*;

use crate::interpreter;
use crate::picture::OutputArray;
use crate::shared_state::{SharedState, lock};
use crate::worker::EngineSlot;

/// The result of processing a frame.
pub(crate) enum Processed<T> {
    /// The picture is in the array, or there is none; the frame can be reused.
    Picture(dreamframe::Result<PictureInfo>, T, OutputArray),
    /// The size of pictures has changed.
    OtherSize(T),
}

/// Makes a picture of `frame` by `make`, on the engine's thread.
pub(crate) fn process<T>(
    slot: &mut EngineSlot,
    state: &SharedState,
    frame: T,
    mut array: OutputArray,
    make: impl FnOnce(&mut Engine, &T, &mut FrameViewMut<'_>) -> dreamframe::Result<PictureInfo>,
) -> Processed<T> {
    let engine = match slot.engine() {
        Ok(engine) if engine.size() != array.size() => return Processed::OtherSize(frame),
        Ok(engine) => engine,
        Err(error) => return Processed::Picture(Err(error), frame, array),
    };
    let result = array.view().and_then(|mut out| make(engine, &frame, &mut out));
    let mut snapshot = lock(&state.snapshot);
    (snapshot.work, snapshot.delay) = (engine.work(), engine.delay());
    Processed::Picture(result, frame, array)
}

/// Reports loading progress to Python.
pub(crate) fn report(callback: &Py<PyAny>, loaded: &dreamframe::Progress<'_>, state: &SharedState) -> ControlFlow<()> {
    let (done, total, what) = (loaded.done, loaded.total, loaded.component);
    let called = interpreter::attach_engine(|py| callback.call1(py, (done, total, what)).map(drop));
    match called {
        Some(Ok(())) => ControlFlow::Continue(()),
        Some(Err(error)) => {
            *lock(&state.raised) = Some(error);
            ControlFlow::Break(())
        }
        None => ControlFlow::Break(()),
    }
}

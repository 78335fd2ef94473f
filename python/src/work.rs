//! Work of the engine's thread for a stream: processing a frame, reporting progress.

use std::ops::ControlFlow;

use dreamframe::PictureInfo;
use pyo3::prelude::*;

use crate::picture::OutputArray;
use crate::shared_state::{SharedState, lock};
use crate::worker::EngineSlot;
use crate::{frame, interpreter};

/// The result of processing a frame.
pub(crate) enum Processed {
    /// The picture is in the array, or there is none; the frame can be reused.
    Picture(dreamframe::Result<PictureInfo>, frame::Pixels, OutputArray),
    /// The size of pictures has changed.
    OtherSize(frame::Pixels),
}

/// Processes one frame, on the engine's thread.
pub(crate) fn process(
    slot: &mut EngineSlot,
    state: &SharedState,
    pixels: frame::Pixels,
    mut array: OutputArray,
) -> Processed {
    let engine = match slot.engine() {
        Ok(engine) if engine.size() != array.size() => return Processed::OtherSize(pixels),
        Ok(engine) => engine,
        Err(error) => return Processed::Picture(Err(error), pixels, array),
    };
    let result = pixels.view().and_then(|frame| engine.process_into(&frame, &mut array.view()?));
    let mut snapshot = lock(&state.snapshot);
    (snapshot.work, snapshot.delay) = (engine.work(), engine.delay());
    Processed::Picture(result, pixels, array)
}

/// Reports loading progress to Python.
pub(crate) fn report(callback: &Py<PyAny>, loaded: &dreamframe::Progress<'_>, state: &SharedState) -> ControlFlow<()> {
    let (done, total, what) = (loaded.done, loaded.total, loaded.component);
    let called = interpreter::attach(|py| callback.call1(py, (done, total, what)).map(drop));
    match called {
        Some(Ok(())) => ControlFlow::Continue(()),
        Some(Err(error)) => {
            *lock(&state.raised) = Some(error);
            ControlFlow::Break(())
        }
        None => ControlFlow::Break(()),
    }
}

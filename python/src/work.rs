//! What the engine's thread does for a stream: one frame, and telling how loading goes.

use std::ops::ControlFlow;

use dreamframe::PictureInfo;
use pyo3::prelude::*;

use crate::picture::Room;
use crate::told::{Told, lock};
use crate::worker::Place;
use crate::{foreign, frame};

/// What became of a frame.
pub(crate) enum Processed {
    /// The picture is in the room, or there is none; the frame can be given back.
    Picture(dreamframe::Result<PictureInfo>, frame::Pixels, Room),
    /// Pictures have another size by now.
    OtherSize(frame::Pixels),
}

/// Works on one frame, on the engine's thread.
pub(crate) fn process(place: &mut Place, told: &Told, pixels: frame::Pixels, mut room: Room) -> Processed {
    let engine = match place.engine() {
        Ok(engine) if engine.size() != room.size() => return Processed::OtherSize(pixels),
        Ok(engine) => engine,
        Err(error) => return Processed::Picture(Err(error), pixels, room),
    };
    let result = pixels.view().and_then(|frame| engine.process_into(&frame, &mut room.view()?));
    let mut facts = lock(&told.facts);
    (facts.work, facts.delay) = (engine.work(), engine.delay());
    Processed::Picture(result, pixels, room)
}

/// Tells Python how loading goes.
pub(crate) fn report(callback: &Py<PyAny>, loaded: &dreamframe::Progress<'_>, told: &Told) -> ControlFlow<()> {
    let (done, total, what) = (loaded.done, loaded.total, loaded.component);
    let called = foreign::attach(|py| callback.call1(py, (done, total, what)).map(drop));
    match called {
        Some(Ok(())) => ControlFlow::Continue(()),
        Some(Err(error)) => {
            *lock(&told.raised) = Some(error);
            ControlFlow::Break(())
        }
        None => ControlFlow::Break(()),
    }
}

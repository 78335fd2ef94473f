//! The loop over a video: frames in, patches between them, exactly one picture out for each frame.

use std::time::Duration;

use dreamframe::frame::Frame;
use dreamframe::params::{Cost, ParamsPatch, diff, total_cost};
use dreamframe::telemetry::Timings;
use dreamframe::{Engine, Picture, PictureKind, Update};

use super::exit::Result;
use super::interrupt::Interrupt;
use super::pairing::{CallResult, Pairing, Writes};
use super::progress::Progress;
use super::timeline::{Due, Timeline};

/// Runs a video through an engine.
#[derive(Debug)]
pub(super) struct VideoLoop<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) timeline: Timeline,
    pub(super) progress: &'a mut Progress,
    pub(super) interrupt: &'a Interrupt,
    pairing: Pairing,
    /// The number of the next frame to be written.
    written: u64,
    /// The picture written last, for frames that get it once more.
    last: Option<Picture>,
    spent: Timings,
}

impl<'a> VideoLoop<'a> {
    pub(super) fn new(
        engine: &'a mut Engine,
        timeline: Timeline,
        progress: &'a mut Progress,
        interrupt: &'a Interrupt,
    ) -> Self {
        let (pairing, spent) = (Pairing::default(), Timings::default());
        Self { engine, timeline, progress, interrupt, pairing, written: 0, last: None, spent }
    }

    /// Takes every frame of `next`, and passes the picture of frame k to `write` as the k-th. Returns the total time of
    /// each stage.
    ///
    /// # Errors
    ///
    /// Those of the engine, `next` and `write`; and an error when the process is interrupted.
    pub(super) fn run(
        mut self,
        mut next: impl FnMut() -> dreamframe::Result<Option<Frame>>,
        mut write: impl FnMut(u64, &Frame) -> dreamframe::Result<()>,
    ) -> Result<Timings> {
        let mut before: Option<Frame> = None;
        let mut number = 0;
        while let Some(frame) = next()? {
            while let Some(due) = self.timeline.due(number) {
                match due {
                    Due::Patch(patch) => self.update(number, &patch, before.as_ref(), &mut write)?,
                    Due::Transition(transition) => {
                        let update = self.engine.transition(&transition)?;
                        self.report(number, &update)?;
                    }
                }
            }
            self.call(&frame, false, &mut write)?;
            before = Some(frame);
            number += 1;
        }
        if let Some(last) = &before {
            self.drain(last, &mut write)?;
        }
        if self.timeline.left() > 0 {
            let text = format!(
                "the input has {number} frames: {} later changes of the timeline were not applied",
                self.timeline.left()
            );
            self.progress.notice(&text)?;
        }
        Ok(self.spent)
    }

    /// Applies a patch. If it changes the delay, the frames in flight are processed first.
    fn update(
        &mut self,
        frame: u64,
        patch: &ParamsPatch,
        before: Option<&Frame>,
        write: &mut impl FnMut(u64, &Frame) -> dreamframe::Result<()>,
    ) -> Result {
        let params = self.engine.params();
        let (next, _) = patch.merge(params)?;
        let rebuilds = total_cost(&diff(params, &next)) == Some(Cost::Rebuild);
        let empties = rebuilds
            || params.t_index_list.len() != next.t_index_list.len()
            || params.skip_diffusion != next.skip_diffusion;
        if let Some(before) = before.filter(|_| empties) {
            self.drain(before, write)?;
        }
        let update = self.engine.update(patch)?;
        if empties {
            self.pairing.emptied();
        }
        self.report(frame, &update)
    }

    fn report(&mut self, frame: u64, update: &Update) -> Result {
        for notice in &update.notices {
            self.progress.notice(&notice.to_string())?;
        }
        self.progress.update(frame, update.cost.map_or("none", Cost::name))
    }

    /// Feeds `last` until the pictures of all frames have come.
    fn drain(&mut self, last: &Frame, write: &mut impl FnMut(u64, &Frame) -> dreamframe::Result<()>) -> Result {
        // The similar-image filter would skip the copies.
        let filters = self.engine.params().enable_similar_image_filter;
        if filters {
            self.engine.edit(|params| params.enable_similar_image_filter = false)?;
        }
        while self.pairing.waits() {
            self.call(last, true, write)?;
        }
        if filters {
            self.engine.edit(|params| params.enable_similar_image_filter = true)?;
        }
        Ok(())
    }

    fn call(
        &mut self,
        frame: &Frame,
        copy: bool,
        write: &mut impl FnMut(u64, &Frame) -> dreamframe::Result<()>,
    ) -> Result {
        self.interrupt.check()?;
        let picture = self.engine.process(&frame.view())?;
        self.add(&picture.timings);
        let came = if picture.kind == PictureKind::Repeated {
            CallResult::Again
        } else if picture.kind == PictureKind::Passed {
            CallResult::Passed
        } else {
            CallResult::Of(picture.source_id.0)
        };
        let delay = self.engine.delay();
        let Writes { new, repeats } =
            if copy { self.pairing.copy(came, delay) } else { self.pairing.frame(came, delay) };
        let took = Duration::from_micros(picture.timings.total);
        if new {
            self.write(&picture.frame, if came == CallResult::Passed { "passed" } else { "new" }, took, write)?;
            self.last = Some(picture);
        }
        if repeats > 0
            && let Some(last) = self.last.take()
        {
            for _ in 0..repeats {
                self.write(&last.frame, "repeated", took, write)?;
            }
            self.last = Some(last);
        }
        Ok(())
    }

    fn write(
        &mut self,
        frame: &Frame,
        kind: &str,
        took: Duration,
        write: &mut impl FnMut(u64, &Frame) -> dreamframe::Result<()>,
    ) -> Result {
        write(self.written, frame)?;
        self.progress.picture(self.written, kind, took)?;
        self.written += 1;
        Ok(())
    }

    fn add(&mut self, timings: &Timings) {
        let spent = &mut self.spent;
        spent.preprocess += timings.preprocess;
        spent.encode += timings.encode;
        spent.control += timings.control;
        spent.unet += timings.unet;
        spent.decode += timings.decode;
        spent.postprocess += timings.postprocess;
        spent.total += timings.total;
    }
}

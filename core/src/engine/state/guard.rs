//! Replaces pictures that the safety checker flags.

use super::chains::to_unit;
use super::sources::Source;
use crate::engine::host::SafetyChecker;
use crate::engine::options::Flagged;
use crate::engine::pipeline::Pipeline;
use crate::engine::pipeline::frame_memory::elements;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Buffer, Queue};
use crate::preprocess::Image;

/// Replaces flagged pictures by the last picture that was not flagged, or by black.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// The picture to be scored.
    image: Image,
    /// The last picture that was not flagged, in -1..1, and the frame it was made from.
    good: Vec<f32>,
    source: Option<Source>,
}

/// The checker, and what to do with flagged pictures.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) checker: &'a dyn SafetyChecker,
    pub(super) threshold: f32,
    pub(super) instead: Flagged,
}

impl Guard {
    /// Returns the guard that `pipeline` needs, unless that of `base` serves it as well.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`.
    pub(super) fn replacing(base: Option<&Pipeline>, pipeline: &Pipeline) -> Result<Option<Self>> {
        let size = |pipeline: &Pipeline| pipeline.components.safety_checker().map(|_| pipeline.memory.picture);
        let Some((width, height)) = size(pipeline).filter(|_| base.and_then(size) != size(pipeline)) else {
            return Ok(None);
        };
        let len = elements(pipeline.memory.picture);
        let mut guard = Self::default();
        guard.good.try_reserve_exact(len).map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "failed to allocate a picture that replaces flagged ones")
                .with_source(error)
        })?;
        guard.image.resize(width, height, 3);
        Ok(Some(guard))
    }

    /// Scores `result` (`[height, width, 3]` in -1..1), made from the frame `source`. If it is flagged, replaces it,
    /// and returns the frame that the replacement was made from.
    ///
    /// # Errors
    ///
    /// Those of the checker; `result` is then replaced, too. Those of the device.
    pub(super) fn check(
        &mut self,
        queue: &dyn Queue,
        judge: &Judge<'_>,
        (result, staging): (&mut Buffer, &mut Vec<f32>),
        source: Source,
    ) -> Result<Option<Source>> {
        let elements = queue.read(result.view(), staging)?;
        let size = (self.image.width(), self.image.height());
        to_unit(elements, size, &mut self.image);
        let score = judge.checker.score(&self.image);
        // NaN is flagged, too.
        if score.as_ref().is_ok_and(|&score| score < judge.threshold) {
            self.good.clear();
            self.good.extend_from_slice(elements);
            self.source = Some(source);
            return Ok(None);
        }
        let shown = match (judge.instead, self.source) {
            (Flagged::Previous, Some(source)) => {
                queue.upload(&self.good, result.view_mut())?;
                source
            }
            (Flagged::Previous, None) | (Flagged::Black, _) => {
                queue.write(result.view_mut(), staging, |elements| elements.fill(-1.0))?;
                source
            }
        };
        score.map(|_| Some(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::exec::HostQueue;
    use crate::frame::FrameId;

    /// Scores a picture by its redness.
    #[derive(Debug)]
    struct Red;

    impl SafetyChecker for Red {
        fn score(&self, image: &Image) -> Result<f32> {
            let red = image.pixels()[0];
            if red == 1.0 {
                Err(Error::new(ErrorKind::Device, "lost"))
            } else {
                Ok(if red == 0.5 { f32::NAN } else { red })
            }
        }
    }

    fn guard() -> Guard {
        let mut guard = Guard::default();
        guard.image.resize(2, 1, 3);
        guard
    }

    #[test]
    fn flagged_pictures_are_replaced_by_the_last_good_one_or_black() {
        for instead in [Flagged::Previous, Flagged::Black] {
            let judge = Judge { checker: &Red, threshold: 0.4, instead };
            let mut guard = guard();
            let mut shown = |red: f32, id: u64| {
                let mut result = Buffer::from(vec![red; 6]);
                let own = Source { id: FrameId(id), ..Source::default() };
                let source = guard.check(&HostQueue, &judge, (&mut result, &mut Vec::new()), own);
                let source = source.map(|source| source.map(|source| source.id));
                (source.map_err(|error| error.kind()), result.view().host().unwrap()[0])
            };
            // No picture has passed yet: black.
            assert_eq!(shown(0.9, 1), (Ok(Some(FrameId(1))), -1.0));
            assert_eq!(shown(-0.9, 2), (Ok(None), -0.9));
            let other = if instead == Flagged::Previous { (FrameId(2), -0.9) } else { (FrameId(3), -1.0) };
            assert_eq!(shown(0.9, 3), (Ok(Some(other.0)), other.1));
            // NaN is no valid score.
            assert_eq!(shown(0.0, 3), (Ok(Some(other.0)), other.1));
            assert_eq!(shown(1.0, 3), (Err(ErrorKind::Device), other.1));
            assert_eq!(shown(-0.5, 4), (Ok(None), -0.5));
        }
    }
}

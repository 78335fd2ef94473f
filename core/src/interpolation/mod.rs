//! Pictures between two pictures, by optical flow without a network, or by RIFE's network.
//!
//! The flow of both directions is computed once for two pictures, at a reduced size ([`motion`]). For each time between
//! them, it is projected to that time, both pictures are warped there, and blended by where their contents are visible
//! ([`warp`]). With a network, that flow only determines whether the scene has changed, and the network makes the pictures
//! ([`rife`]). It is independent of threads and clocks.

mod motion;
mod rife;
#[cfg(test)]
mod tests;
mod warp;

use std::sync::Arc;

use self::motion::Motion;
pub(crate) use self::rife::Rife;
use self::rife::RifeRun;
use self::warp::Warp;
use crate::error::Result;
use crate::frame::{Fit, Frame, FrameConverter, FramePool};
use crate::preprocess::Image;

/// The number of idle buffers for pictures.
const POOLED: usize = 6;

/// How the last two pictures differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    /// Not comparable: there is one picture, or they have different sizes or formats.
    Nothing,
    /// By their scene.
    SceneCut,
    /// Not at all.
    Same,
    /// By motion.
    Motion,
}

/// Makes pictures between the last two pictures that it was given. Allocates nothing after the first of a size.
#[derive(Debug)]
pub(crate) struct Interpolator {
    converter: FrameConverter,
    pool: FramePool,
    /// The last two pictures, the newest second.
    pictures: [Held; 2],
    between: Between,
    motion: Motion,
    warp: Warp,
    /// Makes the pictures instead of `warp`, if there is one.
    network: Option<RifeRun>,
    made: Image,
}

/// A picture, as floats and as it was given.
#[derive(Debug, Default)]
struct Held {
    /// `[height, width, 3]` in 0..1.
    image: Image,
    frame: Option<Frame>,
}

impl Interpolator {
    /// Returns one without pictures.
    pub(crate) fn new() -> Self {
        Self {
            converter: FrameConverter::new(),
            pool: FramePool::new(POOLED),
            pictures: [Held::default(), Held::default()],
            between: Between::Nothing,
            motion: Motion::default(),
            warp: Warp::default(),
            network: None,
            made: Image::new(),
        }
    }

    /// Copies the next picture, and returns how it differs from the last one. The scene changes if the mean
    /// difference of both after motion, of values in 0..1, is above `scene_cut`. Pictures between both are made by
    /// `network`, if there is one for their size.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`; the pictures are then not comparable.
    pub(crate) fn advance(&mut self, frame: &Frame, scene_cut: f64, network: Option<Arc<Rife>>) -> Result<Between> {
        match (&mut self.network, network) {
            (Some(known), Some(network)) if known.runs(&network) => known.advance(),
            (known, network) => *known = network.map(RifeRun::new),
        }
        self.pictures.swap(0, 1);
        self.between = Between::Nothing;
        let [previous, current] = &mut self.pictures;
        current.frame = None;
        let copy = self.pool.copy(&frame.view())?;
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        current.image.resize(width, height, 3);
        let pixels = current.image.pixels_mut();
        self.converter.to_unit(&frame.view(), Fit::Stretch, frame.width(), frame.height(), pixels)?;
        let current_frame = current.frame.insert(copy);
        let Some(last) = previous.frame.as_ref().filter(|last| is_alike(last, current_frame)) else {
            return Ok(self.between);
        };
        self.between = if last.pixels() == current_frame.pixels() {
            Between::Same
        } else {
            let residual = self.motion.estimate(&previous.image, &current.image)?;
            if f64::from(residual) > scene_cut { Between::SceneCut } else { Between::Motion }
        };
        Ok(self.between)
    }

    /// Returns the picture at `time` between the last two: 0 is the older one, 1 the newer one. `None` if nothing
    /// is interpolated between them.
    ///
    /// # Errors
    ///
    /// `OutOfMemory`, and those of the network's executor.
    pub(crate) fn picture(&mut self, time: f32) -> Result<Option<Frame>> {
        let [previous, current] = &self.pictures;
        let Some(frame) = &current.frame else { return Ok(None) };
        match self.between {
            Between::Nothing | Between::SceneCut => Ok(None),
            Between::Same => self.pool.copy(&frame.view()).map(Some),
            Between::Motion => {
                let mut made = self.pool.frame(frame.format(), frame.width(), frame.height())?;
                made.set_origin(frame.origin());
                made.set_color(frame.color());
                let pictures = [&previous.image, &current.image];
                match self.network.as_mut().filter(|network| network.fits(&current.image)) {
                    Some(network) => network.picture(pictures, time, &mut self.made)?,
                    None => self.warp.run(pictures, &self.motion, time, &mut self.made),
                }
                let (width, height) = (frame.width(), frame.height());
                self.converter.from_unit(self.made.pixels(), width, height, &mut made.view_mut())?;
                Ok(Some(made))
            }
        }
    }

    /// Forgets all pictures and the network: nothing is interpolated before the next picture.
    pub(crate) fn forget(&mut self) {
        self.network = None;
        self.pictures.iter_mut().for_each(|held| held.frame = None);
        self.between = Between::Nothing;
    }
}

/// Returns true if two pictures have the same size and layout.
fn is_alike(one: &Frame, other: &Frame) -> bool {
    let layout = |frame: &Frame| (frame.format(), frame.width(), frame.height(), frame.origin(), frame.color());
    layout(one) == layout(other)
}

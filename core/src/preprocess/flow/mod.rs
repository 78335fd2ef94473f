//! `temporal_net_tensorrt`: the previous frame, and the optical flow from it.

mod dense;
mod raft;
mod wheel;

use std::fmt;

use serde_json::{Map, Value};

pub use self::dense::{DenseFlow, sample};
pub(super) use self::raft::Raft;
use self::raft::RaftFlow;
use super::resize::{Interpolation, Resizer};
use super::{Context, Factory, Image, Preprocessor, rgb};
use crate::error::Result;
use crate::params::{FlowOutput, TemporalNetSettings};

/// Computes optical flow.
pub trait FlowSource: Send + fmt::Debug {
    /// Fills `flow`, `[height, width, 2]`, with the displacement of each pixel of `previous`, to the right and
    /// downwards, in pixels. Both pictures have the same size.
    ///
    /// # Errors
    ///
    /// The error of the processor.
    fn flow(&mut self, previous: &Image, current: &Image, flow: &mut Image) -> Result<()>;

    /// Returns the number of runs of networks.
    fn evaluations(&self) -> u64 {
        0
    }
}

/// Starts processors of optical flow, with a network if there is one.
#[derive(Debug)]
pub(super) struct FlowFactory {
    pub(super) raft: Option<Raft>,
}

impl Factory for FlowFactory {
    fn start(&self, settings: &Map<String, Value>) -> Box<dyn Preprocessor> {
        let source: Box<dyn FlowSource> = match &self.raft {
            Some(raft) => Box::new(RaftFlow::new(raft)),
            None => Box::new(DenseFlow::default()),
        };
        Box::new(TemporalNet::new(source, TemporalNetSettings::read(settings)))
    }
}

/// Outputs the last frame and the flow from it.
#[derive(Debug)]
struct TemporalNet {
    source: Box<dyn FlowSource>,
    settings: TemporalNetSettings,
    /// The last frame, at the stream's size and at the size of the flow; `None` before the first.
    last: Option<(Image, Image)>,
    resizers: [Resizer; 2],
    small: Image,
    flow: Image,
    shown: Image,
    resized: Image,
}

impl TemporalNet {
    fn new(source: Box<dyn FlowSource>, settings: TemporalNetSettings) -> Self {
        let resizers = [Resizer::default(), Resizer::default()];
        let [small, flow, shown, resized] = [Image::new(), Image::new(), Image::new(), Image::new()];
        Self { source, settings, last: None, resizers, small, flow, shown, resized }
    }

    /// Writes the output for the first frame: the frame itself, and zero flow.
    fn first(&self, input: &Image, output: &mut Image) {
        match self.settings.output_format {
            FlowOutput::Concat => {
                output.resize(input.width(), input.height(), 6);
                for (to, from) in pixels::<6>(output).zip(input.pixels().as_chunks::<3>().0) {
                    *to = [from[0], from[1], from[2], 0.0, 0.0, 0.0];
                }
            }
            FlowOutput::WarpedOnly => output.copy_from(input),
        }
    }

    /// Writes the previous frame and the flow as a picture, or the previous frame warped by the flow.
    fn show(&mut self, last: &Image, output: &mut Image) {
        let size = (last.width(), last.height());
        match self.settings.output_format {
            FlowOutput::Concat => {
                wheel::show(&self.flow, &mut self.shown);
                self.resizers[1].resize(Interpolation::Bilinear, &self.shown, size, &mut self.resized);
                output.resize(size.0, size.1, 6);
                let both = last.pixels().as_chunks::<3>().0.iter().zip(self.resized.pixels().as_chunks::<3>().0);
                for (to, (last, flow)) in pixels::<6>(output).zip(both) {
                    *to = [last[0], last[1], last[2], flow[0], flow[1], flow[2]];
                }
            }
            FlowOutput::WarpedOnly => {
                let scale = [size.0 as f32 / self.flow.width() as f32, size.1 as f32 / self.flow.height() as f32];
                self.resizers[1].resize(Interpolation::Bilinear, &self.flow, size, &mut self.resized);
                output.resize(size.0, size.1, 3);
                let flow = self.resized.pixels().as_chunks::<2>().0;
                for (place, (to, flow)) in pixels::<3>(output).zip(flow).enumerate() {
                    let (x, y) = ((place % size.0) as f32, (place / size.0) as f32);
                    *to = dense::sample(last, x - flow[0] * scale[0], y - flow[1] * scale[1]);
                }
            }
        }
    }
}

/// Returns the pixels of an image of `N` channels.
fn pixels<const N: usize>(image: &mut Image) -> impl Iterator<Item = &mut [f32; N]> {
    image.pixels_mut().as_chunks_mut::<N>().0.iter_mut()
}

impl Preprocessor for TemporalNet {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        rgb(input)?;
        let size = (self.settings.width as usize, self.settings.height as usize);
        self.resizers[0].resize(Interpolation::Bilinear, input, size, &mut self.small);
        // After a change of size there is no previous frame.
        let last = self.last.take().filter(|(last, small)| last.same_size(input) && small.same_size(&self.small));
        let Some((mut last, mut last_small)) = last else {
            self.first(input, output);
            self.last = Some((input.clone(), self.small.clone()));
            return Ok(());
        };
        let done = self.source.flow(&last_small, &self.small, &mut self.flow);
        if done.is_ok() {
            let strength = self.settings.flow_strength as f32;
            self.flow.pixels_mut().iter_mut().for_each(|x| *x *= strength);
            self.show(&last, output);
        }
        last.copy_from(input);
        last_small.copy_from(&self.small);
        self.last = Some((last, last_small));
        done
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.settings = TemporalNetSettings::read(settings);
    }

    fn reset(&mut self) {
        self.last = None;
    }

    fn evaluations(&self) -> u64 {
        self.source.evaluations()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(shift: f32) -> Image {
        let at = |x: usize, y: usize| {
            let (x, y) = (x as f32 - shift, y as f32);
            [(x * 0.3).sin() * 0.4 + 0.5, (y * 0.35).cos() * 0.4 + 0.5, ((x + y) * 0.2).sin() * 0.4 + 0.5]
        };
        let pixels = (0..48 * 64).flat_map(|i| at(i % 64, i / 64)).collect();
        Image::from_pixels(64, 48, 3, pixels).unwrap()
    }

    fn processor(settings: serde_json::Value) -> Box<dyn Preprocessor> {
        FlowFactory { raft: None }.start(settings.as_object().unwrap())
    }

    fn run(processor: &mut dyn Preprocessor, image: &Image) -> Image {
        let mut output = Image::new();
        processor.run(image, &Context::default(), &mut output).unwrap();
        output
    }

    #[test]
    fn the_first_frame_has_zero_flow_and_later_ones_output_the_previous_frame() {
        let mut flow = processor(serde_json::json!({"width": 64, "height": 48}));
        let (first, second) = (run(&mut *flow, &frame(0.0)), run(&mut *flow, &frame(1.0)));
        for (image, colour) in [(&first, Some([0.0; 3])), (&second, None)] {
            assert_eq!((image.width(), image.height(), image.channels()), (64, 48, 6));
            for (shown, frame) in image.pixels().as_chunks::<6>().0.iter().zip(frame(0.0).pixels().as_chunks::<3>().0) {
                assert_eq!(shown[..3], frame[..]);
                assert!(colour.is_none_or(|colour| shown[3..] == colour));
            }
        }
        // Motion to the right is red.
        let middle = &second.pixels()[(24 * 64 + 32) * 6..][3..6];
        assert!(middle[0] > 0.95 && middle[1] < 0.5 && middle[2] < 0.5, "{middle:?}");
        flow.reset();
        assert_eq!(run(&mut *flow, &frame(0.0)), first);
    }

    #[test]
    fn a_still_picture_and_zero_strength_have_white_flow() {
        for (strength, shift) in [(1.0, 0.0), (0.0, 2.0)] {
            let settings = serde_json::json!({"width": 64, "height": 48, "flow_strength": strength});
            let mut flow = processor(settings);
            run(&mut *flow, &frame(0.0));
            let shown = run(&mut *flow, &frame(shift));
            assert!(shown.pixels().as_chunks::<6>().0.iter().all(|pixel| pixel[3..] == [1.0; 3]));
        }
    }

    #[test]
    fn the_warped_frame_is_close_to_the_new_one() {
        let mut flow = processor(serde_json::json!({"width": 64, "height": 48, "output_format": "warped_only"}));
        run(&mut *flow, &frame(0.0));
        let (warped, new) = (run(&mut *flow, &frame(2.0)), frame(2.0));
        let inside = |i: usize| (8..56).contains(&(i % 64)) && (8..40).contains(&(i / 64));
        let apart = |a: &Image| {
            let pairs = a.pixels().as_chunks::<3>().0.iter().zip(new.pixels().as_chunks::<3>().0).enumerate();
            let pairs = pairs.filter(|(i, _)| inside(*i));
            pairs.map(|(_, (a, b))| (a[0] - b[0]).abs()).sum::<f32>()
        };
        assert!(apart(&warped) < 0.2 * apart(&frame(0.0)), "{} {}", apart(&warped), apart(&frame(0.0)));
    }
}

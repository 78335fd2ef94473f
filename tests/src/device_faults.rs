//! Faults of a simulated device: a request that it refuses, or work that it accepted and lost.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::Arc;

use dreamframe::exec::Dtype;
use dreamframe::exec::cpu::{CpuExecutor, CpuOptions};
use dreamframe::exec::simulated::{DeviceFault, SimulatedExecutor};
use dreamframe::params::ProcessorName;
use dreamframe::preprocess::{Context, Factory, Image, Preprocessor, Registry};
use dreamframe::{ControlImages, Engine, ErrorKind, FrameView, PixelFormat, Result, StreamDiffusionParams};
use serde_json::{Map, Value};

use crate::frames::{moving_disc, pictures};
use crate::injection::{Faults, Injector};
use crate::kit::{Kit, SIDE};

/// Frames after which the rows of a stream, and the frames of cached attention, are those of a running stream.
const BEFORE: usize = 4;
/// Frames whose pictures are compared.
const AFTER: usize = 3;

/// Faults of one kind of a simulated device.
#[derive(Debug)]
pub struct DeviceFaults {
    device: SimulatedExecutor,
    fault: fn(u64) -> DeviceFault,
}

impl DeviceFaults {
    /// Returns a device, with an executor for two threads, at which `fault` occurs.
    ///
    /// # Errors
    ///
    /// If the threads do not start.
    pub fn new(fault: fn(u64) -> DeviceFault) -> Result<Self> {
        let threads = NonZeroUsize::new(2);
        let options = CpuOptions { threads, dtype: Dtype::F32, pin: false, ..CpuOptions::default() };
        Ok(Self { device: SimulatedExecutor::new(Arc::new(CpuExecutor::new(options)?)), fault })
    }
}

impl Faults for DeviceFaults {
    const KINDS: &'static [ErrorKind] = &[ErrorKind::Device, ErrorKind::OutOfMemory];
    const MAY_DROP_FRAMES: bool = true;

    fn start(&self, n: usize) {
        self.device.set_fault(Some((self.fault)(n as u64)));
    }

    fn end(&self) -> bool {
        self.device.set_fault(None).is_none()
    }

    fn engine(&self, kit: &Kit, params: StreamDiffusionParams) -> Result<Engine> {
        let processors = Registry::new().with(ProcessorName::External, Arc::new(Dimmers));
        let builder = kit.builder(params, |options| options.control_images = ControlImages::PerRow);
        builder.processors(processors).executor(Arc::new(self.device.clone())).build()
    }
}

/// A processor of the host that dims each frame more than the one before.
#[derive(Debug, Default)]
struct Dimmer {
    frames: u32,
}

impl Preprocessor for Dimmer {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        output.resize(input.width(), input.height(), input.channels());
        let factor = 0.9_f32.powi(self.frames as i32);
        output.pixels_mut().iter_mut().zip(input.pixels()).for_each(|(to, from)| *to = from * factor);
        self.frames += 1;
        Ok(())
    }

    fn configure(&mut self, _: &Map<String, Value>) {}

    fn reset(&mut self) {
        self.frames = 0;
    }
}

#[derive(Debug)]
struct Dimmers;

impl Factory for Dimmers {
    fn start(&self, _: &Map<String, Value>) -> Box<dyn Preprocessor> {
        Box::new(Dimmer::default())
    }
}

/// Lets frames of an engine of `params` fail, one at a time and two in flight. After an error, the next pictures are those of
/// a new engine.
///
/// # Errors
///
/// If the engine cannot be built.
///
/// # Panics
///
/// If a picture differs, or a frame succeeds in spite of the fault.
pub fn frames(injector: &mut Injector<'_, DeviceFaults>, kit: &Kit, params: &StreamDiffusionParams) -> Result<()> {
    let faults = injector.faults();
    let expected = pictures(&mut faults.engine(kit, params.clone())?, AFTER);
    let engine = RefCell::new(faults.engine(kit, params.clone())?);
    let pixels = [20, 21].map(|index| moving_disc(index, SIDE, SIDE));
    let frame = |index: usize| FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels[index]);
    let (first, second) = (frame(0)?, frame(1)?);
    pictures(&mut engine.borrow_mut(), BEFORE);
    let check = |result: Result<()>, has_failed: bool| {
        assert_eq!(result.is_err(), has_failed, "a fault is an error");
        let mut engine = engine.borrow_mut();
        if has_failed {
            assert!(pictures(&mut engine, AFTER) == expected, "the pictures after a fault are those of a new engine");
        }
        pictures(&mut engine, BEFORE);
    };
    injector.each("frame", || engine.borrow_mut().process(&first).map(drop), check);
    let pair = || {
        let mut engine = engine.borrow_mut();
        let (mut result, mut in_flight) = (Ok(()), 0);
        for frame in [&first, &second] {
            if result.is_ok() {
                result = engine.submit(frame).map(drop);
                in_flight += usize::from(result.is_ok());
            }
        }
        // What is in flight has to be collected, whether or not it has a picture.
        for _ in 0..in_flight {
            let collected = engine.collect().map(drop);
            result = result.and(collected);
        }
        result
    };
    injector.each("two frames in flight", pair, check);
    Ok(())
}

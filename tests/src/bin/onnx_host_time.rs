//! Measures what a frame costs on ONNX Runtime's CPU provider apart from its networks, which do nothing here:
//! `onnx_host_time [FRAMES]`. `DREAMFRAME_ONNXRUNTIME` names the library. Run manually, on an idle machine.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dreamframe::exec::null::NullExecutor;
use dreamframe::exec::onnx::{OnnxConfig, OnnxExecutor};
use dreamframe::exec::{Dtype, Executor, Network, Provider, Queue};
use dreamframe::load::OnnxRuntimeFiles;
use dreamframe::net::{Program, Weights};
use dreamframe::{Engine, FrameView, FrameViewMut, PixelFormat, StreamDiffusionParams};

const SIDE: u32 = 512;

/// The memory and the operations of ONNX Runtime, with networks that do nothing.
#[derive(Debug)]
struct WithoutNetworks(OnnxExecutor);

impl Executor for WithoutNetworks {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn dtype(&self) -> Dtype {
        self.0.dtype()
    }

    fn threads(&self) -> usize {
        self.0.threads()
    }

    fn queue(&self) -> Arc<dyn Queue> {
        self.0.queue()
    }

    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> dreamframe::Result<Arc<dyn Network>> {
        NullExecutor.compile(program, weights)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let frames = std::env::args().nth(1).map_or(Ok(200), |count| count.parse())?;
    let files = OnnxRuntimeFiles::find(None)?;
    for (rows, steps) in [(1, vec![40]), (4, vec![30, 36, 42, 46])] {
        let executor = executor(files.library())?;
        let params =
            StreamDiffusionParams { width: SIDE, height: SIDE, t_index_list: steps, ..StreamDiffusionParams::demo() };
        let engine = Engine::builder().params(params).executor(Arc::new(WithoutNetworks(executor.clone())));
        measure(&mut engine.build()?, &executor, rows, frames)?;
    }
    Ok(())
}

fn executor(library: &Path) -> dreamframe::Result<OnnxExecutor> {
    let (provider, dtype) = (Provider::Cpu, Dtype::F16);
    OnnxExecutor::new(&OnnxConfig {
        library,
        provider,
        plug_in: None,
        device_index: 0,
        dtype,
        threads: 1,
        cuda_graphs: false,
    })
}

fn measure(engine: &mut Engine, executor: &OnnxExecutor, rows: usize, frames: usize) -> Result<(), Box<dyn Error>> {
    let pixels = vec![90; (SIDE * SIDE * 4) as usize];
    let mut picture = vec![0; pixels.len()];
    let frame = FrameView::packed(PixelFormat::Bgra8, SIDE, SIDE, &pixels)?;
    let mut times = Vec::with_capacity(frames);
    for index in 0..frames + 10 {
        executor.take_counts();
        let start = Instant::now();
        engine.process_into(&frame, &mut FrameViewMut::packed(PixelFormat::Bgra8, SIDE, SIDE, &mut picture)?)?;
        let (total, counts) = (start.elapsed(), executor.take_counts());
        if index >= 10 {
            times.push((total.saturating_sub(counts.time), total, counts.runs));
        }
    }
    times.sort_unstable();
    let (host, total, runs) = times[frames / 2];
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    writeln!(
        std::io::stdout(),
        "{rows} rows, {SIDE} x {SIDE}: {:.3} ms on the host, {:.3} ms with the runs of {runs} graphs (medians of {frames} frames)",
        milliseconds(host),
        milliseconds(total),
    )?;
    Ok(())
}

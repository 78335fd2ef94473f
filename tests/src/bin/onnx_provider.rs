//! Compares pictures of the demo model on an execution provider of ONNX Runtime with those of the CPU executor:
//! `onnx_provider PROVIDER DTYPE SIDE...`. `DREAMFRAME_ONNXRUNTIME` names the library. For providers that the machines of
//! the tests lack; run manually.

use std::error::Error;
use std::io::Write as _;
use std::time::Instant;

use dreamframe::{Device, Dtype, Engine, EngineOptions, OnnxOptions, StreamDiffusionParams};
use dreamframe_tests::frames::{largest_difference, picture, pictures, psnr};

/// The first of these frames prepares what the provider prepares at its first run.
const FRAMES: usize = 6;

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [provider, dtype, sides @ ..] = arguments.as_slice() else {
        return Err("usage: onnx_provider PROVIDER DTYPE SIDE...".into());
    };
    let options = OnnxOptions::default().with_provider(provider.parse()?);
    let start = Instant::now();
    let device = Device::onnx(&options, dtype.parse()?, None)?;
    writeln!(out, "{}: opened in {:.2} s", device.description(), start.elapsed().as_secs_f32())?;
    for side in sides {
        let side: u32 = side.parse()?;
        let expected = pictures(&mut engine(Device::cpu(Dtype::F32, None)?, side)?, FRAMES);
        let start = Instant::now();
        let mut engine = engine(device.clone(), side)?;
        let built = start.elapsed().as_secs_f32();
        let start = Instant::now();
        let mut got = vec![picture(&mut engine, 0)];
        let first = start.elapsed().as_secs_f32();
        let start = Instant::now();
        got.extend((1..FRAMES).map(|index| picture(&mut engine, index)));
        let frame = start.elapsed().as_secs_f32() * 1e3 / (FRAMES - 1) as f32;
        let difference = expected.iter().zip(&got).map(|(expected, got)| largest_difference(expected, got)).max();
        writeln!(
            out,
            "{side} x {side}: engine {built:.2} s, first frame {first:.2} s, a frame {frame:.0} ms; \
             {} levels apart, {:.1} dB",
            difference.unwrap_or_default(),
            psnr(&expected, &got),
        )?;
    }
    Ok(())
}

fn engine(device: Device, side: u32) -> dreamframe::Result<Engine> {
    let params = StreamDiffusionParams { width: side, height: side, ..StreamDiffusionParams::demo() };
    Engine::builder().device(device).params(params).options(EngineOptions::default()).build()
}

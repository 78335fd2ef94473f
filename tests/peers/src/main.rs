//! Times SD-Turbo's UNet with random weights here and in candle-transformers, in turn, and prints the ratio.
//!
//! `cargo run --release -p dreamframe-peers -- [--size 512] [--threads 2] [--rounds 3]`

use std::error::Error;
use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Shape as CandleShape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use candle_transformers::models::stable_diffusion::unet_2d::{
    BlockConfig, UNet2DConditionModel, UNet2DConditionModelConfig,
};
use dreamframe::exec::cpu::{CpuExecutor, CpuOptions};
use dreamframe::exec::{Arena, Executor};
use dreamframe::load::RandomWeights;
use dreamframe::models::known::known_model;
use dreamframe::models::{UnetConfig, UnetShape, timestep_embedding, unet_program};
use dreamframe::net::{WeightSource, Weights};

const TOKENS: usize = 77;
const TEXT: usize = 1024;

/// The same random weights, as candle asks for them.
struct Shared(Arc<RandomWeights>);

impl SimpleBackend for Shared {
    fn get(
        &self,
        shape: CandleShape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let numbers = self.0.read(name, shape.dims()).map_err(candle_core::Error::wrap)?;
        Tensor::from_vec(numbers, shape, device)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let shape = self.0.shape(name).ok_or_else(|| candle_core::Error::Msg(format!("no {name}")))?;
        self.get(shape.into(), name, candle_nn::Init::Const(0.0), dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.shape(name).is_some()
    }
}

fn candle_unet(weights: &Arc<RandomWeights>) -> candle_core::Result<UNet2DConditionModel> {
    let block = |out_channels, use_cross_attn, attention_head_dim| BlockConfig {
        out_channels,
        use_cross_attn,
        attention_head_dim,
    };
    let config = UNet2DConditionModelConfig {
        blocks: vec![block(320, Some(1), 5), block(640, Some(1), 10), block(1280, Some(1), 20), block(1280, None, 20)],
        cross_attention_dim: TEXT,
        use_linear_projection: true,
        ..Default::default()
    };
    let builder = VarBuilder::from_backend(Box::new(Shared(weights.clone())), DType::F32, Device::Cpu);
    UNet2DConditionModel::new(builder, 4, 4, false, config)
}

fn argument(name: &str, default: usize) -> Result<usize, Box<dyn Error>> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    Ok(arguments.next().map_or(Ok(default), |text| text.parse())?)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The largest difference, relative to the largest number of the peer.
fn relative_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    let apart = ours.iter().zip(theirs).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f32::max);
    apart / theirs.iter().map(|number| number.abs()).fold(0.0, f32::max)
}

fn main() -> Result<(), Box<dyn Error>> {
    let (size, threads, rounds) = (argument("--size", 512)?, argument("--threads", 2)?, argument("--rounds", 3)?);
    let side = size / 8;
    let known = known_model("sd-turbo").ok_or("sd-turbo is known")?;
    let config = UnetConfig::from_json(known.unet)?;
    let shape = UnetShape {
        rows: 1,
        height: side,
        width: side,
        text_rows: 1,
        text_tokens: TOKENS,
        text_of_row: vec![0],
        guidance_embedding: false,
    };
    let program = Arc::new(unet_program(&config, &shape)?);
    let random = Arc::new(RandomWeights::new(1, program.weights()));
    let executor = CpuExecutor::new(CpuOptions { threads: NonZeroUsize::new(threads), ..Default::default() })?;
    let network = executor.compile(&program, &Weights::new(random.clone()))?;
    let peer = candle_unet(&random)?;

    let spec = |name: &str, shape: &[usize]| dreamframe::net::WeightSpec { name: name.into(), shape: shape.to_vec() };
    let inputs = [spec("sample", &[side * side, 4]), spec("text", &[TOKENS, TEXT])];
    let noise = RandomWeights::new(2, &inputs);
    let (sample, text) = (noise.read("sample", &[side * side, 4])?, noise.read("text", &[TOKENS, TEXT])?);
    let constants = network.constants(&[&text, &timestep_embedding(&[999.0], &config)])?;
    let mut arena = Arena::new();
    arena.reserve(network.arena_len())?;
    let mut eps = vec![0.0; sample.len()];
    let planes = Tensor::from_slice(&sample, (1, side, side, 4), &Device::Cpu)?.permute((0, 3, 1, 2))?.contiguous()?;
    let states = Tensor::from_slice(&text, (1, TOKENS, TEXT), &Device::Cpu)?;

    let (mut ours, mut theirs, mut apart) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..=rounds {
        let start = Instant::now();
        network.run(&constants, &mut arena, &[&sample], &mut [&mut eps])?;
        ours.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        let out = peer.forward(&planes, 999.0, &states)?;
        theirs.push(start.elapsed().as_secs_f64() * 1e3);
        let out: Vec<f32> = out.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1()?;
        apart = relative_difference(&eps, &out);
    }
    // The first round of each warms caches and threads up.
    let (ours, theirs) = (median(ours.split_off(1)), median(theirs.split_off(1)));
    writeln!(
        std::io::stdout(),
        "SD-Turbo UNet {size}x{size} f32, {}: {ours:.0} ms; candle-transformers: {theirs:.0} ms; ratio {:.2}; \
         relative difference {apart:.1e}; medians of {rounds}, in turn",
        executor.describe(),
        theirs / ours
    )?;
    Ok(())
}

//! candle's side: SD-Turbo's UNet of candle-transformers, with the weights and inputs that ours has.

use std::sync::Arc;

use candle_core::{DType, Device, Shape as CandleShape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use candle_transformers::models::stable_diffusion::unet_2d::{
    BlockConfig, UNet2DConditionModel, UNet2DConditionModelConfig,
};
use dreamframe::load::RandomWeights;
use dreamframe::models::TEXT_TOKENS;
use dreamframe::net::{Shape, WeightSource};

use super::{Warm, ours};
use crate::Result;
use crate::case::Case;

/// Width of a text's states.
const TEXT: usize = 1024;

/// Our random weights, as candle asks for them.
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

/// candle's UNet, warm.
#[derive(Debug)]
pub(super) struct Candle {
    unet: UNet2DConditionModel,
    sample: Tensor,
    text: Tensor,
    output: Option<Tensor>,
}

impl Candle {
    /// Builds the UNet for `case`, which is one row of sd-turbo.
    ///
    /// # Errors
    ///
    /// What candle reports.
    pub(super) fn new(case: &Case) -> Result<Self> {
        let programs = case.programs()?;
        let [program] = programs.as_slice() else { return Err("candle has a UNet alone".into()) };
        let side = case.size / 8;
        let sample = ours::input("sample", Shape::new(1, side, side, 4))?;
        let text = ours::input("encoder_hidden_states", Shape::tokens(1, TEXT_TOKENS, TEXT))?;
        let sample = Tensor::from_vec(sample, (1, side, side, 4), &Device::Cpu)?;
        Ok(Self {
            unet: unet(Shared(Arc::new(ours::weights(program))))?,
            sample: sample.permute((0, 3, 1, 2))?.contiguous()?,
            text: Tensor::from_vec(text, (1, TEXT_TOKENS, TEXT), &Device::Cpu)?,
            output: None,
        })
    }
}

fn unet(weights: Shared) -> candle_core::Result<UNet2DConditionModel> {
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
    let builder = VarBuilder::from_backend(Box::new(weights), DType::F32, Device::Cpu);
    UNet2DConditionModel::new(builder, 4, 4, false, config)
}

impl Warm for Candle {
    fn about(&self) -> String {
        "candle-transformers".into()
    }

    fn run(&mut self) -> Result<()> {
        self.output = Some(self.unet.forward(&self.sample, f64::from(ours::TIMESTEP), &self.text)?);
        Ok(())
    }

    fn output(&self) -> Result<Vec<f32>> {
        let output = self.output.as_ref().ok_or("it has not run")?;
        Ok(output.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1()?)
    }
}

//! LoRAs with live branches: another scale computes constants again, and prepares no weights and no networks.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::lora::{CONV, LAST, Models, QUERY, WORDS, picture, set};
use crate::cpu;
use crate::engine::{Device, Engine, EngineOptions, LoraMode};
use crate::error::Result;
use crate::exec::simulated::SimulatedExecutor;
use crate::exec::{Dtype, Executor, Network, Queue};
use crate::net::{Program, Weights};
use crate::params::{Cost, ParamsPatch, StreamDiffusionParams, total_cost};
use crate::session::SessionOptions;

/// Keys of the text, which do not change between frames.
const KEYS: (&str, [usize; 4]) = ("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k", [96, 128, 1, 1]);
/// The layer before a GEGLU, which is not fused with it if it has a branch.
const GATED: (&str, [usize; 4]) =
    ("lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj", [768, 96, 1, 1]);

type Loras<'a> = &'a [(&'a str, f64)];

fn dict(loras: Loras<'_>) -> BTreeMap<String, f64> {
    loras.iter().map(|&(id, scale)| (id.to_owned(), scale)).collect()
}

fn engine(models: &Models, mode: LoraMode, loras: Loras<'_>) -> Engine {
    let change = |params: &mut StreamDiffusionParams, options: &mut EngineOptions| {
        (params.lora_dict, options.lora_mode) = (dict(loras), mode);
    };
    models.build(change).unwrap()
}

/// Counts the networks that are compiled.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn Executor>,
    compiled: Arc<AtomicUsize>,
}

impl Executor for Counting {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn dtype(&self) -> Dtype {
        self.inner.dtype()
    }

    fn threads(&self) -> usize {
        self.inner.threads()
    }

    fn queue(&self) -> Arc<dyn Queue> {
        self.inner.queue()
    }

    fn compile(&self, program: &Arc<Program>, weights: &Weights) -> Result<Arc<dyn Network>> {
        self.compiled.fetch_add(1, Ordering::Relaxed);
        self.inner.compile(program, weights)
    }
}

/// Builds an engine on `executor` that counts what it compiles, and the weights that it loads or packs.
fn counted(models: &Models, executor: Arc<dyn Executor>, loras: Loras<'_>) -> (Engine, [Arc<AtomicUsize>; 2]) {
    let [compiled, loaded] = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let (inner, watched) = (executor, loaded.clone());
    let counting = Counting { inner, compiled: compiled.clone() };
    let build = |params: &mut StreamDiffusionParams, options: &mut EngineOptions| {
        (params.lora_dict, options.lora_mode) = (dict(loras), LoraMode::Live);
    };
    let builder = models.builder(build).executor(Arc::new(counting)).progress(move |_| {
        watched.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    (builder.build().unwrap(), [compiled, loaded])
}

/// Every executor of this machine, with its name.
fn executors() -> Vec<(&'static str, Arc<dyn Executor>)> {
    let cpu = |dtype| Device::cpu(dtype, Some(2)).unwrap().executor();
    let mut all = vec![
        ("cpu", cpu(Dtype::F32)),
        ("simulated", Arc::new(SimulatedExecutor::new(cpu(Dtype::F32)))),
        ("reference", Device::reference().unwrap().executor()),
    ];
    if cpu::check_dtype(Dtype::Bf16).is_ok() {
        all.push(("bf16", cpu(Dtype::Bf16)));
    }
    #[cfg(feature = "onnx")]
    if std::env::var_os("DREAMFRAME_ONNXRUNTIME").is_some() {
        let options = crate::OnnxOptions::default().with_provider(crate::Provider::Cpu);
        all.push(("onnx", Device::onnx(&options, Dtype::F32, Some(2)).unwrap().executor()));
    }
    all
}

/// The largest difference of two pictures, in levels of 255.
fn apart(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn pictures_with_live_branches_are_those_with_merged_weights() {
    let models = Models::new();
    models.lora("style.safetensors", &[CONV, QUERY, KEYS, GATED, LAST]);
    models.lora("other.safetensors", &[QUERY, KEYS]);
    let plain = picture(&mut engine(&models, LoraMode::Merged, &[]));
    let [one, strong, two]: [Loras<'_>; 3] =
        [&[("style", 1.0)], &[("style", 10.0)], &[("style", -6.0), ("other", 9.0)]];
    for loras in [one, strong, two] {
        let merged = picture(&mut engine(&models, LoraMode::Merged, loras));
        let live = picture(&mut engine(&models, LoraMode::Live, loras));
        let (effect, error) = (apart(&merged, &plain), apart(&live, &merged));
        assert!(effect > if loras == strong { 10 } else { 2 } && error <= 1, "{loras:?}: {effect}, {error}");
    }
    let none = picture(&mut engine(&models, LoraMode::Live, &[("style", 0.0), ("other", 0.0)]));
    assert!(apart(&none, &plain) <= 1);
    // Without LoRAs, both modes are the same.
    assert!(picture(&mut engine(&models, LoraMode::Live, &[])) == plain);
}

#[test]
fn another_scale_compiles_and_loads_nothing_on_any_executor() {
    let models = Models::new();
    models.lora("style.safetensors", &[CONV, QUERY, KEYS, GATED]);
    models.lora("other.safetensors", &[QUERY]);
    for (name, executor) in executors() {
        let (mut engine, counts) = counted(&models, executor.clone(), &[("other", 0.5), ("style", 0.0)]);
        let counts = || counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        let first = picture(&mut engine);
        let (before, snapshot) = (counts(), engine.snapshot().unwrap());
        let update = set(&mut engine, r#"{"lora_dict": {"other": -1, "style": 0.75}}"#).unwrap();
        let costs: Vec<_> = update.changes.iter().map(|change| (&*change.path, change.cost)).collect();
        assert_eq!((costs, update.notices.len()), (vec![("lora_dict", Cost::Recompute)], 0), "{name}");
        assert_eq!(counts(), before, "{name}");
        assert!(engine.snapshot().unwrap().0.shares_unet(&snapshot.0), "{name}");
        let changed = picture(&mut engine);
        assert!(changed != first, "{name}");
        let (mut fresh, _) = counted(&models, executor, &[("other", -1.0), ("style", 0.75)]);
        assert!(changed == picture(&mut fresh), "{name}");
    }
}

#[test]
fn another_set_of_loras_is_loaded() {
    let models = Models::new();
    models.lora("style.safetensors", &[CONV, QUERY]);
    models.lora("other.safetensors", &[KEYS]);
    let mut live = engine(&models, LoraMode::Live, &[("style", 1.0)]);
    let costs = [
        (r#"{"style": 0.5}"#, Some(Cost::Recompute)),
        (r#"{"style": 0}"#, Some(Cost::Recompute)),
        (r#"{"style": 0, "other": 0.5}"#, Some(Cost::Load)),
        (r#"{"style": 0.5, "other": 1}"#, Some(Cost::Recompute)),
        (r#"{"other": 1}"#, Some(Cost::Load)),
        (r#"{"other": 1}"#, None),
    ];
    for (loras, cost) in costs {
        assert_eq!(set(&mut live, &format!(r#"{{"lora_dict": {loras}}}"#)).unwrap().cost, cost, "{loras}");
    }
    assert!(picture(&mut live) == picture(&mut engine(&models, LoraMode::Live, &[("other", 1.0)])));
    let mut merged = engine(&models, LoraMode::Merged, &[("style", 1.0)]);
    assert_eq!(set(&mut merged, r#"{"lora_dict": {"style": 0.5}}"#).unwrap().cost, Some(Cost::Load));
}

/// Builds an engine on `executor` in the default mode, and returns the cost of another scale of each of `ids`.
fn costs_in_the_default_mode(models: &Models, executor: Arc<dyn Executor>, ids: &[&str]) -> Vec<Option<Cost>> {
    let loras =
        |changed: &str| dict(&ids.iter().map(|&id| (id, f64::from(u8::from(id == changed)))).collect::<Vec<_>>());
    let builder = models.builder(|params, options| {
        (params.lora_dict, options.lora_mode) = (loras(""), EngineOptions::default().lora_mode);
    });
    let builder = builder.executor(executor);
    let snapshot = builder.build().unwrap().snapshot().unwrap();
    let cost = |id: &&str| {
        let params = StreamDiffusionParams { lora_dict: loras(id), ..snapshot.params().clone() };
        total_cost(&snapshot.diff(snapshot.params(), &params))
    };
    ids.iter().map(cost).collect()
}

#[test]
fn the_default_mode_is_live_for_loras_of_low_cost_and_merges_the_others() {
    let models = Models::new();
    models.lora("small.safetensors", &[QUERY]);
    models.lora("other.safetensors", &[QUERY, KEYS]);
    models.lora_of_rank("large.safetensors", &[CONV, QUERY, KEYS, GATED], 512);
    let [live, merged] = [Some(Cost::Recompute), Some(Cost::Load)];
    for (name, executor) in executors() {
        // The others compile a network with its weights.
        let large = if matches!(name, "reference" | "onnx") { live } else { merged };
        let costs = costs_in_the_default_mode(&models, executor, &["large", "other", "small"]);
        assert_eq!(costs, [large, live, live], "{name}");
    }
}

#[test]
fn pictures_in_the_default_mode_are_those_of_the_mode_of_each_lora() {
    let models = Models::new();
    models.lora("small.safetensors", &[QUERY]);
    models.lora_of_rank("large.safetensors", &[CONV], 512);
    let made = |mode, loras| picture(&mut engine(&models, mode, loras));
    let [small, large]: [Loras<'_>; 2] = [&[("small", 8.0)], &[("large", 0.5)]];
    let [of_small, of_large] = [small, large].map(|loras| made(LoraMode::Auto, loras));
    assert!(of_small == made(LoraMode::Live, small) && of_large == made(LoraMode::Merged, large));
    let both: Loras<'_> = &[("large", 0.5), ("small", 8.0)];
    let of_both = made(LoraMode::Auto, both);
    assert!(of_both != of_small && of_both != of_large);
    assert!(apart(&of_both, &made(LoraMode::Merged, both)) <= 1);
}

#[test]
fn text_encoders_are_merged_and_a_notice_says_so() {
    let models = Models::new();
    models.lora("style.safetensors", &[QUERY, WORDS]);
    models.lora("words.safetensors", &[WORDS]);
    let mut live = engine(&models, LoraMode::Live, &[]);
    for id in ["words", "style"] {
        let update = set(&mut live, &format!(r#"{{"lora_dict": {{"{id}": 1}}}}"#)).unwrap();
        let [notice] = &*update.notices else { panic!("{:?}", update.notices) };
        assert!(notice.path == "lora_dict" && notice.message.contains("text encoders"), "{notice}");
        let update = set(&mut live, &format!(r#"{{"lora_dict": {{"{id}": 0.5}}}}"#)).unwrap();
        assert_eq!((update.cost, update.notices.len()), (Some(Cost::Load), 0));
        let merged = picture(&mut engine(&models, LoraMode::Merged, &[(id, 0.5)]));
        assert!(apart(&picture(&mut live), &merged) <= 1, "{id}");
    }
}

#[test]
fn sessions_take_another_scale_for_a_quick_update() {
    let models = Models::new();
    models.lora("style.safetensors", &[QUERY]);
    let session = engine(&models, LoraMode::Live, &[("style", 1.0)]).start(SessionOptions::default()).unwrap();
    let handle = session.handle();
    let update = |text: &str| handle.update(&ParamsPatch::from_json(text).unwrap()).unwrap();
    let ticket = update(r#"{"lora_dict": {"style": 0.5}}"#);
    let costs: Vec<_> = ticket.changes.iter().map(|change| change.cost).collect();
    assert_eq!((ticket.cost, costs), (Some(Cost::Recompute), vec![Cost::Recompute]));
    let (old, mut new) = (handle.params(), handle.params());
    new.lora_dict.insert("style".into(), 0.25);
    assert_eq!(handle.diff(&old, &new)[0].cost, Cost::Recompute);
    new.lora_dict.insert("other".into(), 0.25);
    assert_eq!(handle.diff(&old, &new)[0].cost, Cost::Load);
}

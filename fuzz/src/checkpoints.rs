//! Targets that read the names and shapes of weights: checkpoints in one file, and LoRAs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Result, Unstructured};
use dreamframe::load::fuzz_api::single_file;
use dreamframe::load::{Component, LoraFile};
use dreamframe::models::{LoraNames, LoraTarget};
use dreamframe::net::{Program, WeightSource as _};
use serde_json::Value;

use crate::files::safetensors;
use crate::networks::{autoencoder, check_refusal, text_encoder, unet};

/// Names and shapes of tensors.
type Shapes = BTreeMap<String, Vec<usize>>;

/// The names and shapes of tiny checkpoints in one file, of SD 1.5, SD 2.1 and SDXL; then the same without what a file may
/// lack, which half the inputs begin with, since the time of an input grows with the number of tensors.
static SINGLE: LazyLock<[Shapes; 6]> = LazyLock::new(|| {
    let [sd15, sd21, sdxl] = [
        include_str!("../../tests/golden/single/sd15.json"),
        include_str!("../../tests/golden/single/sd21.json"),
        include_str!("../../tests/golden/single/sdxl.json"),
    ]
    .map(shapes);
    let [small15, small21, small_xl] = [&sd15, &sd21, &sdxl].map(small);
    [sd15, sd21, sdxl, small15, small21, small_xl]
});

/// Returns the tensors without the autoencoder and without all but the first layer of each text encoder.
fn small(shapes: &Shapes) -> Shapes {
    let is_later_layer = |name: &str| {
        let layer = [".encoder.layers.", ".resblocks."].iter().find_map(|before| name.split_once(before));
        layer.is_some_and(|(_, layer)| !layer.starts_with("0."))
    };
    let is_kept = |name: &str| !name.starts_with("first_stage_model.") && !is_later_layer(name);
    shapes.iter().filter(|(name, _)| is_kept(name)).map(|(name, shape)| (name.clone(), shape.clone())).collect()
}

/// The words of every text encoder here: with those that published ones have, the embeddings are most of a file.
const WORDS: usize = 512;

/// Reads a table, which has the tensors of the folder that a file was made from, and how.
fn shapes(table: &str) -> Shapes {
    let table: Value = serde_json::from_str(table).expect("a committed file is JSON");
    let parts = table["tensors"].as_object().into_iter().flat_map(|parts| parts.values());
    let rows = parts.flat_map(|part| part.as_object().into_iter().flatten());
    let shape = |name: &str, row: &Value| {
        let mut shape: Vec<usize> = serde_json::from_value(row[1].clone()).expect("a row has a shape");
        match row[0].as_str() {
            Some("stack") => shape[0] *= 3,
            Some("transpose") => shape.reverse(),
            Some("conv") => shape.extend([1, 1]),
            _ if name.ends_with(".token_embedding.weight") => shape[0] = WORDS,
            // The sides of kernels are most of the other bytes, and networks are recognized without them.
            _ => shape.iter_mut().skip(2).for_each(|side| *side = 1),
        }
        shape
    };
    rows.map(|(name, row)| (name.clone(), shape(name, row))).collect()
}

/// A change of a checkpoint. Indices count its tensors, modulo their number.
#[derive(Debug, Arbitrary)]
enum Change {
    Remove(u16),
    RemoveAllAs { index: u16, chars: u8 },
    Rename { index: u16, chars: u8, end: String },
    Number { index: u16, digit: u8 },
    Scalar(u16),
    Side { index: u16, axis: u8, length: u8 },
    Add { name: String, shape: Vec<u8> },
}

impl Change {
    fn apply(self, shapes: &mut Shapes) {
        let name = |index: u16| shapes.keys().nth(usize::from(index) % shapes.len().max(1)).cloned();
        let start = |name: &str, chars: u8| name.chars().take(chars.into()).collect::<String>();
        match self {
            Self::Remove(index) => drop(name(index).and_then(|name| shapes.remove(&name))),
            Self::RemoveAllAs { index, chars } => {
                let Some(start) = name(index).map(|name| start(&name, chars)) else { return };
                shapes.retain(|name, _| !name.starts_with(&start));
            }
            Self::Rename { index, chars, end } => {
                let Some(name) = name(index) else { return };
                let shape = shapes.remove(&name).unwrap_or_default();
                shapes.insert(start(&name, chars) + &end, shape);
            }
            Self::Number { index, digit } => {
                let Some(name) = name(index) else { return };
                let shape = shapes.remove(&name).unwrap_or_default();
                let other = name.replace(|c: char| c.is_ascii_digit(), &digit.to_string());
                shapes.insert(other, shape);
            }
            Self::Scalar(index) => drop(name(index).map(|name| shapes.insert(name, Vec::new()))),
            Self::Side { index, axis, length } => {
                let shape = name(index).and_then(|name| shapes.get_mut(&name));
                if let Some(side) = shape.and_then(|shape| shape.get_mut(usize::from(axis))) {
                    *side = length.into();
                }
            }
            Self::Add { name, shape } => {
                shapes.insert(name, shape.into_iter().take(4).map(|side| usize::from(side % 9)).collect());
            }
        }
    }
}

/// A known checkpoint in one file with some changes: it is refused with a reason, or each of its networks has a config
/// that can be read, and weights that can be.
pub fn single_checkpoint(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok(table) = input.choose_index(SINGLE.len()) else { return };
    let mut shapes = SINGLE[table].clone();
    for _ in 0..16 {
        let Ok(change) = Change::arbitrary(&mut input) else { break };
        change.apply(&mut shapes);
        if input.is_empty() {
            break;
        }
    }
    // Which weight is read follows from the input alone, so that a finding is found again.
    let picked = usize::from(bytes.last().copied().unwrap_or_default());
    match single_file(file_of(&shapes)) {
        Ok(networks) => networks.iter().for_each(|(name, network)| check_network(name, network, picked)),
        Err(error) => check_refusal(&error),
    }
}

fn file_of(shapes: &Shapes) -> Vec<u8> {
    safetensors(shapes.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())))
}

fn check_network(name: &str, network: &Component, picked: usize) {
    let programs = match name {
        "unet" => unet(&network.config),
        "vae" => autoencoder(&network.config),
        _ => text_encoder(&network.config),
    };
    if let Err(error) = &programs {
        check_refusal(error);
    }
    // What the program wants is there with its shape, or is named as missing.
    for weight in programs.iter().flatten().flat_map(Program::weights) {
        if let Some(shape) = network.weights.shape(&weight.name) {
            assert!(shape.len() <= 4, "{name}: {}", weight.name);
        }
    }
    let mut names: Vec<&str> = network.weights.names().collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{name}: a name twice");
    if let Some(name) = names.get(picked % names.len().max(1)) {
        let shape = network.weights.shape(name).expect("a listed weight has a shape");
        let numbers = network.weights.read(name, &shape).expect("a weight of a whole file can be read");
        assert_eq!(numbers.len(), shape.iter().product::<usize>());
    }
}

/// The demo model's UNet and text encoder.
static NETWORKS: LazyLock<[(LoraTarget, Program); 2]> = LazyLock::new(|| {
    let first = |programs: dreamframe::Result<Vec<Program>>| programs.expect("the demo model is valid").remove(0);
    let unet = first(unet(include_str!("../../models/demo/dreamframe-tiny/unet/config.json")));
    let text = first(text_encoder(include_str!("../../models/demo/dreamframe-tiny/text_encoder/config.json")));
    [(LoraTarget::Unet, unet), (LoraTarget::TextEncoder, text)]
});

static NAMES: LazyLock<LoraNames> =
    LazyLock::new(|| LoraNames::new(NETWORKS.iter().map(|(target, program)| (*target, program.weights()))));

/// How a trainer names layers and their two tensors.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Naming {
    Kohya,
    Diffusers,
    Peft,
    Bare,
}

impl Naming {
    fn layer(self, target: LoraTarget, name: &str) -> String {
        let is_unet = target == LoraTarget::Unet;
        match self {
            Self::Kohya => format!("lora_{}_{}", if is_unet { "unet" } else { "te" }, name.replace('.', "_")),
            Self::Diffusers => format!("{}.{name}", if is_unet { "unet" } else { "text_encoder" }),
            Self::Peft => format!("base_model.model.{name}"),
            Self::Bare => name.to_owned(),
        }
    }

    fn ends(self) -> [&'static str; 2] {
        match self {
            Self::Kohya | Self::Bare => ["lora_down.weight", "lora_up.weight"],
            Self::Diffusers => ["lora.down.weight", "lora.up.weight"],
            Self::Peft => ["lora_A.default.weight", "lora_B.default.weight"],
        }
    }
}

/// A layer of a LoRA for the demo model.
#[derive(Debug)]
struct Layer {
    /// What its name becomes instead of the weight's; empty for the weight's own.
    name: String,
    naming: Naming,
    network: usize,
    weight: usize,
    rank: usize,
    /// By how much the last side of its first tensor is too long.
    excess: usize,
    alpha: bool,
}

impl<'a> Arbitrary<'a> for Layer {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            // Most are right, so that whole files are.
            name: if u.ratio(1, 8)? { u.arbitrary()? } else { String::new() },
            naming: u.arbitrary()?,
            network: usize::from(u.ratio(1, 3)?),
            weight: u.arbitrary::<u16>()?.into(),
            rank: u.int_in_range(1..=3)?,
            excess: usize::from(u.ratio(1, 16)?),
            alpha: u.arbitrary()?,
        })
    }
}

/// Layers of a LoRA by any trainer's names: those with a weight's name change that weight, and no others do.
pub fn lora_names(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let (mut tensors, mut wanted, mut plain): (Shapes, BTreeSet<_>, _) = (Shapes::new(), BTreeSet::new(), true);
    while !input.is_empty() && tensors.len() < 48 {
        let Ok(layer) = Layer::arbitrary(&mut input) else { break };
        let (target, program) = &NETWORKS[layer.network];
        let weights: Vec<_> = program.weights().iter().filter(|weight| weight.shape.len() > 1).collect();
        let weight = weights[layer.weight % weights.len()];
        let own = weight.name.strip_suffix(".weight").unwrap_or(&weight.name);
        let name = layer.naming.layer(*target, if layer.name.is_empty() { own } else { &layer.name });
        let [out, rest @ ..] = weight.shape.as_slice() else { continue };
        let mut down = [&[layer.rank], rest].concat();
        down[1] += layer.excess;
        let [down_end, up_end] = layer.naming.ends();
        let is_new = wanted.insert((*target, weight.name.clone()));
        plain &= layer.name.is_empty() && layer.excess == 0 && is_new;
        tensors.insert(format!("{name}.{down_end}"), down);
        tensors.insert(format!("{name}.{up_end}"), vec![*out, layer.rank]);
        if layer.alpha {
            tensors.insert(format!("{name}.alpha"), Vec::new());
        }
    }
    let file = LoraFile::from_bytes("fuzz", file_of(&tensors));
    match file.and_then(|file| NAMES.changes(file.layers)) {
        Ok(changes) => {
            let found = [LoraTarget::Unet, LoraTarget::TextEncoder]
                .into_iter()
                .flat_map(|target| changes.of(target).map(move |(name, _)| (target, name.to_owned())));
            let found: BTreeSet<_> = found.collect();
            assert!(
                !plain || (found == wanted && changes.unused.is_empty()),
                "{:?}",
                found.symmetric_difference(&wanted)
            );
        }
        Err(error) => {
            assert!(!plain || wanted.is_empty(), "{error}");
            check_refusal(&error);
        }
    }
}

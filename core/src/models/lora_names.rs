//! Other names of the layers of a model, derived from those in its checkpoint.

use crate::net::WeightSpec;
use crate::net::original_names::{OUTSIDE, RESNET};

/// The parts of an attention in the UNet and in a text encoder, and what trainers of its processor alone call them.
const PROJECTIONS: [(&str, &str, &str); 8] = [
    (".attn", ".to_q", "to_q_lora"),
    (".attn", ".to_k", "to_k_lora"),
    (".attn", ".to_v", "to_v_lora"),
    (".attn", ".to_out.0", "to_out_lora"),
    (".self_attn", ".q_proj", "to_q_lora"),
    (".self_attn", ".k_proj", "to_k_lora"),
    (".self_attn", ".v_proj", "to_v_lora"),
    (".self_attn", ".out_proj", "to_out_lora"),
];
/// What the names in a text encoder begin with, and newer libraries leave out.
const TEXT: &str = "text_model.";

/// Returns the other names of the layer `name` of the network with the weights `specs`.
pub(super) fn other_names(name: &str, specs: &[WeightSpec]) -> impl Iterator<Item = String> {
    let original = original_name(name, specs);
    let of_processor = PROJECTIONS.iter().find_map(|(attention, part, lora)| {
        let attention = name.strip_suffix(part).filter(|rest| rest.contains(attention))?;
        Some([format!("{attention}.processor.{lora}"), format!("{attention}.{lora}")])
    });
    let of_processor = of_processor.into_iter().flatten();
    let named: Vec<String> = original.into_iter().chain(of_processor).collect();
    let bare = |name: &str| Some(name.strip_prefix(TEXT)?.to_owned());
    let short: Vec<String> = named.iter().map(String::as_str).chain([name]).filter_map(bare).collect();
    named.into_iter().chain(short)
}

/// Returns what the original code calls a layer of the UNet: blocks are counted there over all resolutions, and each
/// has its resnet, its transformer and what changes the resolution as parts.
fn original_name(name: &str, specs: &[WeightSpec]) -> Option<String> {
    if let Some((original, _)) = OUTSIDE.iter().find(|(_, own)| *own == name) {
        return Some((*original).to_owned());
    }
    if let Some(inside) = name.strip_prefix("mid_block.") {
        let Part { kind, index, rest } = Part::of(inside)?;
        let place = match kind {
            "attentions" => index * 2 + 1,
            "resnets" => index * 2,
            _ => return None,
        };
        return Some(format!("middle_block.{place}.{}", rest_of(kind, rest)?));
    }
    let (way, inside) = name.split_once("_blocks.")?;
    let (block, inside) = inside.split_once('.')?;
    let block: usize = block.parse().ok()?;
    let Part { kind, index, rest } = Part::of(inside)?;
    let has = |part: &str| {
        let start = format!("{way}_blocks.{block}.{part}.");
        specs.iter().any(|spec| spec.name.starts_with(&start))
    };
    let before = blocks_before(way, block, specs);
    let rest = rest_of(kind, rest)?;
    match (way, kind) {
        // The first is the convolution before all blocks.
        ("down", "resnets") => Some(format!("input_blocks.{}.0.{rest}", before + 1 + index)),
        ("down", "attentions") => Some(format!("input_blocks.{}.1.{rest}", before + 1 + index)),
        ("down", "downsamplers") => Some(format!("input_blocks.{}.0.op", before + 1 + resnets(way, block, specs))),
        ("up", "resnets") => Some(format!("output_blocks.{}.0.{rest}", before + index)),
        ("up", "attentions") => Some(format!("output_blocks.{}.1.{rest}", before + index)),
        ("up", "upsamplers") => {
            let last = (before + resnets(way, block, specs)).checked_sub(1)?;
            Some(format!("output_blocks.{last}.{}.conv", if has("attentions") { 2 } else { 1 }))
        }
        _ => None,
    }
}

/// A part of a block: `attentions.1.` and what comes after.
struct Part<'a> {
    kind: &'a str,
    index: usize,
    rest: &'a str,
}

impl<'a> Part<'a> {
    fn of(inside: &'a str) -> Option<Self> {
        let (kind, rest) = inside.split_once('.')?;
        let (index, rest) = rest.split_once('.')?;
        Some(Self { kind, index: index.parse().ok()?, rest })
    }
}

/// Returns the rest of a name within a part; resnets have their own.
fn rest_of<'a>(kind: &str, rest: &'a str) -> Option<&'a str> {
    if kind != "resnets" {
        return Some(rest);
    }
    RESNET.iter().find(|(_, own)| *own == rest).map(|&(original, _)| original)
}

/// Returns how many blocks the original code counts on one way through the UNet before block `block`.
fn blocks_before(way: &str, block: usize, specs: &[WeightSpec]) -> usize {
    // On the down half, what halves the resolution counts too.
    let extra = usize::from(way == "down");
    (0..block).map(|before| resnets(way, before, specs) + extra).sum()
}

/// Returns how many resnets a block has.
fn resnets(way: &str, block: usize, specs: &[WeightSpec]) -> usize {
    let first = |index: usize| format!("{way}_blocks.{block}.resnets.{index}.conv1.weight");
    (0..)
        .take_while(|&index| {
            let name = first(index);
            specs.iter().any(|spec| spec.name == name)
        })
        .count()
}

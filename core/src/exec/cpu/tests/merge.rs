//! Token merging, of generated shapes and orders: what is kept is the mean of all that are merged.

#![allow(unsafe_code, reason = "reads packed tokens")]

use std::sync::Arc;

use half::bf16;
use proptest::prelude::*;

use super::super::keys::{KeyLayout, KvCacheLayout};
use super::super::merge::Merge;
use super::super::{Isa, past};
use super::naive::{GeneratedWeights, noise};
use super::{dirty_scratch, executor};
use crate::exec::{Dtype, Executor as _, FrameKeys, Network, Past, RunArgs};
use crate::net::{Program, ProgramBuilder, Rate, Shape, Weights};

/// The least difference of the two largest cosines of a token: of more similar ones, rounding would choose.
const APART: f64 = 1e-5;
/// Merged frames after the first one.
const FRAMES: usize = 2;

/// A layer, its inputs, and the orders in which its tokens are merged.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    tokens: usize,
    heads: usize,
    /// Channels of a head, of keys and of values.
    widths: [usize; 2],
    seed: u64,
    orders: Vec<Vec<u32>>,
}

/// The tokens of a row, one after the other.
type Tokens = Vec<Vec<f32>>;

fn cases() -> impl Strategy<Value = Case> {
    // More than a thread searches at once, but rarely: the definition is slow.
    let tokens = prop_oneof![4 => 1..=40_usize, 1 => 97..=110_usize];
    let shapes = (1..=3_usize, tokens, 1..=3_usize, [4..=20_usize, 1..=20], 1_u64..1 << 40);
    shapes.prop_flat_map(|(rows, tokens, heads, widths, seed)| {
        let order = Just((0..2 * tokens as u32).collect::<Vec<_>>()).prop_shuffle();
        let orders = proptest::collection::vec(order, FRAMES);
        orders.prop_map(move |orders| Case { rows, tokens, heads, widths, seed, orders })
    })
}

impl Case {
    fn shapes(&self) -> [Shape; 3] {
        let [keys, values] = self.widths.map(|width| Shape::tokens(self.rows, self.tokens, self.heads * width));
        [keys, keys, values]
    }

    fn program(&self) -> Arc<Program> {
        let mut builder = ProgramBuilder::new("merge");
        builder.merge_tokens();
        let mut shapes = self.shapes().into_iter();
        let inputs = ["q", "k", "v"].map(|name| builder.input(name, shapes.next().unwrap(), Rate::Frame));
        let mixed = builder.cached_attention(inputs, self.heads);
        let output = builder.inject(mixed);
        builder.output("y", output);
        Arc::new(builder.finish().unwrap())
    }

    /// The inputs of a frame, which all number formats have.
    fn inputs(&self, frame: usize) -> [Vec<f32>; 3] {
        let mut seed = self.seed + 3 * frame as u64;
        self.shapes().map(|shape| {
            seed += 1;
            noise(seed, shape.len()).into_iter().map(|x| (x * 127.0).round() / 128.0).collect()
        })
    }

    /// Runs a frame, and returns the output.
    fn run(&self, network: &dyn Network, frame: usize, kept: &mut [FrameKeys]) -> Vec<f32> {
        let order = frame.checked_sub(1).map(|number| self.orders[number].as_slice());
        let constants = network.constants(&[]).unwrap();
        let inputs = self.inputs(frame);
        let inputs = inputs.each_ref().map(|input| input.into());
        let mut output = vec![f32::NAN; self.shapes()[2].len()];
        let outputs = &mut [(&mut output).into()];
        let mut scratch = dirty_scratch(network);
        let past = Some(Past { frames: kept, filled: frame.min(1), keep: Some(0), order, ..Past::default() });
        network.run(RunArgs { past, ..RunArgs::new(&constants, &mut scratch, &inputs, outputs) }).unwrap();
        output
    }

    /// Reads keys, values and injected tokens from the memory of a frame: for each of these, the tokens of each row.
    fn read(&self, isa: Isa, frame: &FrameKeys) -> [Vec<Tokens>; 3] {
        let kernels = isa.kernels().unwrap();
        let [_, k, v] = self.shapes();
        let mut cache = KvCacheLayout::default();
        let layout = KeyLayout::new(k, v, self.heads, kernels);
        let keys_at = cache.add(&layout);
        let _ = Merge::new(&layout, &mut cache);
        let injected = KeyLayout::of_tokens(self.rows, self.tokens, v.c, kernels);
        let injected_at = cache.add(&injected);
        let at = |element: usize| past::memory(frame)[element * layout.size..].as_ptr().cast_mut();
        let all = |read: &dyn Fn(usize, usize) -> Vec<f32>| -> Vec<Tokens> {
            (0..self.rows).map(|row| (0..self.tokens).map(|token| read(row, token)).collect()).collect()
        };
        let of_heads = |row, width: usize, read: &dyn Fn(*const u8, *mut u8)| -> Vec<f32> {
            let head = |head| token(width, layout.size, &|to| read(layout.head(at(keys_at), row, head), to));
            (0..self.heads).flat_map(head).collect()
        };
        // SAFETY: the memory has these layouts, and `token` has room for the channels.
        unsafe {
            [
                all(&|row, i| of_heads(row, layout.width, &|head, to| layout.read_key(head, i, to))),
                all(&|row, i| of_heads(row, layout.value_width, &|head, to| layout.read_value(head, i, to))),
                all(&|row, i| {
                    token(v.c, layout.size, &|to| injected.read_key(injected.head(at(injected_at), row, 0), i, to))
                }),
            ]
        }
    }
}

/// Returns the `width` numbers, of `size` bytes each, that `read` writes.
fn token(width: usize, size: usize, read: &dyn Fn(*mut u8)) -> Vec<f32> {
    let mut elements = vec![0_u32; width];
    read(elements.as_mut_ptr().cast());
    let bytes = elements.iter().flat_map(|element| element.to_ne_bytes()).collect::<Vec<_>>();
    let number = |bytes: &[u8]| match *bytes {
        [a, b] => bf16::from_ne_bytes([a, b]).to_f32(),
        [a, b, c, d] => f32::from_ne_bytes([a, b, c, d]),
        _ => unreachable!("elements have 2 or 4 bytes"),
    };
    bytes.chunks_exact(size).take(width).map(number).collect()
}

/// Divides the numbers of a frame into rows and tokens.
fn tokens(numbers: &[f32], rows: usize, width: usize) -> Vec<Tokens> {
    let row = |row: &[f32]| row.chunks_exact(width).map(<[f32]>::to_vec).collect();
    numbers.chunks_exact(numbers.len() / rows).map(row).collect()
}

/// The token with a length of 1, or 0.
fn unit(token: &[f32]) -> Vec<f64> {
    let token = token.iter().map(|&x| f64::from(x));
    let length = token.clone().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    token.map(|x| x / length).collect()
}

/// For each token that remains, the numbers of all that are merged into it, itself first; none if a choice is too close.
fn groups(kept: &Tokens, own: &Tokens, order: &[u32]) -> Option<Vec<Vec<usize>>> {
    let units: Vec<Vec<f64>> = kept.iter().chain(own).map(|key| unit(key)).collect();
    let cosine = |a: usize, b: usize| units[a].iter().zip(&units[b]).map(|(x, y)| x * y).sum::<f64>();
    let numbers: Vec<usize> = order.iter().map(|&number| number as usize).collect();
    let (merged, remaining) = numbers.split_at(kept.len());
    let mut groups: Vec<Vec<usize>> = remaining.iter().map(|&number| vec![number]).collect();
    for &number in merged {
        let mut cosines: Vec<(f64, usize)> =
            remaining.iter().enumerate().map(|(i, &other)| (cosine(number, other), i)).collect();
        cosines.sort_by(|a, b| b.0.total_cmp(&a.0));
        if cosines.get(1).is_some_and(|second| cosines[0].0 - second.0 < APART) {
            return None;
        }
        groups[cosines[0].1].push(number);
    }
    Some(groups)
}

/// Checks that `found` are the means of the groups.
fn check(groups: &[Vec<usize>], kept: &Tokens, own: &Tokens, found: &Tokens, bound: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), groups.len());
    for (group, found) in groups.iter().zip(found) {
        let token = |number: usize| if number < kept.len() { &kept[number] } else { &own[number - kept.len()] };
        if let [alone] = group[..] {
            prop_assert_eq!(found, token(alone));
        }
        for (channel, &found) in found.iter().enumerate() {
            let sum: f64 = group.iter().map(|&number| f64::from(token(number)[channel])).sum();
            let mean = sum / group.len() as f64;
            prop_assert!((f64::from(found) - mean).abs() <= bound, "{found} {mean}, of {}", group.len());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn what_is_kept_is_the_mean_of_what_is_merged(case in cases()) {
        let program = case.program();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            // Values are at most 1: half of the last bit of the format.
            let bound = if Dtype::of(isa) == Dtype::F32 { 1e-6 } else { 1.0 / 256.0 };
            let [network, threaded] = [1, 2].map(|threads| {
                executor(isa, threads).compile(&program, &Weights::new(Arc::new(GeneratedWeights))).unwrap()
            });
            let mut kept = [network.frame_keys().unwrap()];
            let mut kept_by_two = [threaded.frame_keys().unwrap()];
            for frame in 0..=FRAMES {
                let before = case.read(isa, &kept[0]);
                let output = case.run(&*network, frame, &mut kept);
                prop_assert_eq!(&output, &case.run(&*threaded, frame, &mut kept_by_two));
                prop_assert!(past::memory(&kept[0]) == past::memory(&kept_by_two[0]), "{isa:?} threads");
                let after = case.read(isa, &kept[0]);
                let [_, keys, values] = case.inputs(frame);
                let own = [&keys, &values, &output];
                let widths = [case.widths[0], case.widths[1], case.widths[1]].map(|width| case.heads * width);
                let own: Vec<Vec<Tokens>> =
                    own.into_iter().zip(widths).map(|(numbers, width)| tokens(numbers, case.rows, width)).collect();
                if frame == 0 {
                    prop_assert_eq!(&own[..], &after[..]);
                    continue;
                }
                for row in 0..case.rows {
                    let groups = groups(&before[0][row], &own[0][row], &case.orders[frame - 1]);
                    prop_assume!(groups.is_some());
                    for ((before, own), after) in before.iter().zip(&own).zip(&after) {
                        check(groups.as_deref().unwrap(), &before[row], &own[row], &after[row], bound)?;
                    }
                }
            }
        }
    }
}

//! LoRAs in every layout against what diffusers and PEFT make of them, on every executor: at most 1e-4 of the largest
//! number apart, as the networks alone are.

use std::path::PathBuf;
use std::sync::Arc;

use dreamframe::exec::Executor;
use dreamframe::load::{LoraFile, WeightFiles};
use dreamframe::models::{
    ClipTextConfig, LoraChanges, LoraNames, LoraTarget, TextStates, UnetConfig, UnetShape, clip_program, unet_program,
};
use dreamframe::net::{Branches, Program, Weights};
use dreamframe_tests::{Golden, Tensors, assert_close, executors, run, run_unet_over, run_unet_with_branches};

const TEXT_ENCODERS: [(&str, LoraTarget); 2] =
    [("text_encoder", LoraTarget::TextEncoder), ("text_encoder_2", LoraTarget::TextEncoder2)];

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "golden", "lora"].iter().collect()
}

fn unet(golden: &Golden) -> Program {
    let config = UnetConfig::from_json(&golden.config("unet")).unwrap();
    let side = config.latent_multiple();
    unet_program(&config, &UnetShape { text_tokens: 1, ..UnetShape::new(1, side, side) }).unwrap()
}

fn text_config(golden: &Golden, component: &str) -> ClipTextConfig {
    ClipTextConfig::from_json(&golden.config(component)).unwrap()
}

/// The names of a tiny checkpoint's weights.
fn names(golden: &Golden) -> LoraNames {
    let mut programs = vec![(LoraTarget::Unet, unet(golden))];
    for (component, target) in TEXT_ENCODERS {
        if golden.has_component(component) {
            let program = clip_program(&text_config(golden, component), 1, 4, TextStates::Last).unwrap();
            programs.push((target, program));
        }
    }
    LoraNames::new(programs.iter().map(|(target, program)| (*target, program.weights())))
}

/// The LoRA in `file`, all of whose layers the checkpoint has.
fn lora(golden: &Golden, file: &str) -> LoraChanges {
    let file = LoraFile::read(&folder().join(file)).unwrap();
    assert!(file.unknown.is_empty(), "{:?}", file.unknown);
    let changes = names(golden).changes(file.layers).unwrap();
    assert!(changes.unused.is_empty(), "{:?}", changes.unused);
    changes
}

fn merged(base: &Arc<Weights>, target: LoraTarget, loras: &[(&LoraChanges, f32)]) -> Arc<Weights> {
    let changes = loras.iter().flat_map(|&(changes, scale)| {
        changes.of(target).map(move |(name, change)| (name.to_owned(), scale, change.clone()))
    });
    Weights::merged(base, changes)
}

fn base(golden: &Golden, component: &str) -> Arc<Weights> {
    Arc::new(golden.weights(component))
}

/// Compares all networks of `family` with `loras` merged with the outputs of `case`.
fn check(case: &str, family: &str, loras: &[(&str, f32)]) {
    let (golden, outputs) = (Golden::family(family), Tensors::open(folder().join("golden.safetensors")));
    let read: Vec<(LoraChanges, f32)> = loras.iter().map(|&(file, scale)| (lora(&golden, file), scale)).collect();
    let loras: Vec<(&LoraChanges, f32)> = read.iter().map(|(changes, scale)| (changes, *scale)).collect();
    for (name, executor) in executors() {
        let what = format!("{case} on {name}");
        let weights = merged(&base(&golden, "unet"), LoraTarget::Unet, &loras);
        let rows = golden.shape("unet.sample")[0];
        let eps = run_unet_over(&golden, &weights, &*executor, rows, false);
        assert_close(&*executor, &what, &eps, &outputs.numbers(&format!("{case}.unet.eps")));
        for (component, target) in TEXT_ENCODERS {
            let last = format!("{case}.{component}.last");
            if !outputs.has(&last) {
                continue;
            }
            let got = encode(&golden, &*executor, component, &merged(&base(&golden, component), target, &loras));
            assert_close(&*executor, &format!("{what}, {component}"), &got[0], &outputs.numbers(&last));
            if let Some(pooled) = got.get(1) {
                let expected = outputs.numbers(&format!("{case}.{component}.pooled"));
                assert_close(&*executor, &format!("{what}, {component} pooled"), pooled, &expected);
            }
        }
    }
}

/// The last states of the golden's texts, and the pooled texts where there is a projection.
fn encode(golden: &Golden, executor: &dyn Executor, component: &str, weights: &Weights) -> Vec<Vec<f32>> {
    let config = text_config(golden, component);
    let &[rows, tokens] = golden.shape(&format!("{component}.input_ids")) else { panic!("no ids") };
    let ids = golden.numbers(&format!("{component}.input_ids"));
    let row_ids = ids.chunks_exact(tokens).map(|row| row.iter().map(|&id| id as u32).collect::<Vec<u32>>());
    let eos: Vec<f32> = row_ids.map(|row| config.eos_index(&row) as f32).collect();
    let program = clip_program(&config, rows, tokens, TextStates::Last).unwrap();
    let mut frame = vec![&*ids];
    frame.extend(config.projection_dim.map(|_| &*eos));
    run(executor, program, weights, &[], &frame)
}

#[test]
fn names_of_processors_are_merged_as_in_diffusers() {
    check("processors", "sd15", &[("processors.safetensors", 0.8)]);
}

#[test]
fn names_of_diffusers_are_merged_as_in_diffusers() {
    check("diffusers", "sd15", &[("diffusers.safetensors", 0.8)]);
}

#[test]
fn names_of_peft_with_a_config_in_the_header_are_merged_as_in_diffusers() {
    check("peft", "sd15", &[("peft.safetensors", 0.8)]);
}

#[test]
fn a_folder_of_peft_with_its_config_is_merged_as_in_peft() {
    check("peft-folder", "sd21", &[("peft-folder", 1.0)]);
}

#[test]
fn names_of_kohya_are_merged_as_in_diffusers() {
    check("kohya", "sd15", &[("kohya.safetensors", 0.8)]);
    check("kohya-sdxl", "sdxl", &[("kohya-sdxl.safetensors", 0.8)]);
}

#[test]
fn names_of_the_original_code_are_merged_as_in_diffusers() {
    check("kohya-sdxl-original", "sdxl", &[("kohya-sdxl-original.safetensors", 0.8)]);
}

#[test]
fn two_are_merged_in_either_order_as_in_diffusers() {
    let (one, two) = (("kohya.safetensors", 0.7), ("peft.safetensors", -0.4));
    check("two", "sd15", &[one, two]);
    check("two", "sd15", &[two, one]);
}

/// Compares the UNet of `family` with live branches of `loras` with the output of `case`, and at scale zero with the UNet
/// without LoRAs.
fn check_live(case: &str, family: &str, loras: &[(&str, f32)]) {
    let (golden, outputs) = (Golden::family(family), Tensors::open(folder().join("golden.safetensors")));
    let read = loras.iter().map(|(file, _)| lora(&golden, file));
    let branches = Branches::new(read.map(|lora| {
        let changes = lora.of(LoraTarget::Unet).map(|(name, change)| (name.to_owned(), change.clone()));
        changes.collect::<Vec<_>>()
    }));
    let scales: Vec<f32> = loras.iter().map(|(_, scale)| *scale).collect();
    let base = base(&golden, "unet");
    let weights = branches.weights(&base);
    let rows = golden.shape("unet.sample")[0];
    for (name, executor) in executors() {
        let what = format!("{case} with branches on {name}");
        let run =
            |scales: &[f32]| run_unet_with_branches(&golden, &weights, &*executor, (rows, false), &branches, scales);
        assert_close(&*executor, &what, &run(&scales), &outputs.numbers(&format!("{case}.unet.eps")));
        let plain = run_unet_over(&golden, &base, &*executor, rows, false);
        assert_close(&*executor, &format!("{what} at scale zero"), &run(&vec![0.0; scales.len()]), &plain);
    }
}

#[test]
fn live_branches_give_what_merged_weights_give_in_diffusers() {
    check_live("diffusers", "sd15", &[("diffusers.safetensors", 0.8)]);
    check_live("peft-folder", "sd21", &[("peft-folder", 1.0)]);
    check_live("kohya", "sd15", &[("kohya.safetensors", 0.8)]);
    check_live("kohya-sdxl", "sdxl", &[("kohya-sdxl.safetensors", 0.8)]);
}

#[test]
fn live_branches_of_two_loras_in_either_order_add_up_as_in_diffusers() {
    let (one, two) = (("kohya.safetensors", 0.7), ("peft.safetensors", -0.4));
    check_live("two", "sd15", &[one, two]);
    check_live("two", "sd15", &[two, one]);
}

#[test]
fn scale_zero_is_no_lora_to_the_bit() {
    let golden = Golden::family("sd15");
    let lora = lora(&golden, "kohya.safetensors");
    for (name, executor) in executors() {
        let base = base(&golden, "unet");
        let eps = |weights: &Weights| run_unet_over(&golden, weights, &*executor, 3, false);
        let plain = eps(&base);
        assert!(eps(&merged(&base, LoraTarget::Unet, &[(&lora, 1.0)])) != plain, "{name}");
        assert!(eps(&merged(&base, LoraTarget::Unet, &[(&lora, 0.0)])) == plain, "{name}");
        assert!(eps(&base) == plain, "{name}: the base has changed");
    }
}

#[test]
fn a_lora_of_another_family_is_refused_with_both_shapes() {
    let file = LoraFile::read(&folder().join("kohya.safetensors")).unwrap();
    let error = names(&Golden::family("sd21")).changes(file.layers).unwrap_err().to_string();
    assert!(error.contains("lora_down.weight\": got a change of shape [") && error.contains("expected ["), "{error}");
}

#[test]
fn a_checkpoint_is_no_lora() {
    let path = folder().with_file_name("sd15").join("unet/diffusion_pytorch_model.safetensors");
    let count = WeightFiles::from_bytes("unet", std::fs::read(&path).unwrap()).unwrap().names().count();
    let error = LoraFile::read(&path).unwrap_err().to_string();
    assert!(error.contains(&format!("LoRA layers: got none and {count} other tensors")), "{error}");
}

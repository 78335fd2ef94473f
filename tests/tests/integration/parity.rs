//! Every network against the reference libraries, on every executor.

use dreamframe::exec::Executor;
use dreamframe::models::{
    Autoencoder, ClipTextConfig, TextStates, UnetConfig, UnetShape, clip_program, timestep_embedding, unet_program,
};
use dreamframe_tests::{Golden, assert_close, executors, relative_error, run, run_unet};

const FAMILIES: [&str; 9] = ["sd15", "sd21", "sdxl", "lcm", "bk-sdm", "sdxs", "sdxs-dreamshaper", "ssd-1b", "uneven"];

/// Calls `body` with every executor and every family that has `component`, and with the demo model.
fn everywhere(component: &str, body: impl Fn(&Golden, &dyn Executor, &str)) {
    let goldens = FAMILIES.map(|family| (family, Golden::family(family)));
    let goldens = goldens.into_iter().chain([("demo", Golden::demo())]);
    let executors = executors();
    let mut met = 0;
    for (family, golden) in goldens {
        if golden.has_component(component) {
            for (name, executor) in &executors {
                body(&golden, &**executor, &format!("{family} {component} on {name}"));
                met += 1;
            }
        }
    }
    assert!(met > 0, "no golden has {component}");
}

#[test]
fn the_unet_predicts_what_diffusers_predicts() {
    everywhere("unet", |golden, executor, what| {
        let rows = golden.shape("unet.sample")[0];
        assert_close(executor, what, &run_unet(golden, executor, rows, false), &golden.numbers("unet.eps"));
    });
}

#[test]
fn one_row_is_laid_out_as_well_as_three() {
    everywhere("unet", |golden, executor, what| {
        if golden.has("unet.eps_one_row") {
            assert_close(executor, what, &run_unet(golden, executor, 1, false), &golden.numbers("unet.eps_one_row"));
        }
    });
}

#[test]
fn consistency_model_accepts_a_guidance_embedding() {
    let golden = Golden::family("lcm");
    for (name, executor) in executors() {
        let eps = run_unet(&golden, &*executor, 3, true);
        assert_close(&*executor, &name, &eps, &golden.numbers("unet.eps_guided"));
        assert!(relative_error(&eps, &golden.numbers("unet.eps")) > 1e-2);
    }
}

#[test]
fn timesteps_are_embedded_as_torch_embeds_them() {
    for family in FAMILIES {
        let golden = Golden::family(family);
        let config = UnetConfig::from_json(&golden.config("unet")).unwrap();
        let got = timestep_embedding(&golden.numbers("unet.timesteps"), &config);
        // A unit in the last place of the largest angle, 759, is 6e-5.
        let error = relative_error(&got, &golden.numbers("unet.timestep_embedding"));
        assert!(error <= 1e-4, "{family}: {error:e}");
    }
}

fn check_text_encoder(golden: &Golden, executor: &dyn Executor, component: &str, what: &str) {
    let config = ClipTextConfig::from_json(&golden.config(component)).unwrap();
    let &[rows, tokens] = golden.shape(&format!("{component}.input_ids")) else { panic!("no ids") };
    let ids = golden.numbers(&format!("{component}.input_ids"));
    let row_ids = ids.chunks_exact(tokens).map(|row| row.iter().map(|&id| id as u32).collect::<Vec<u32>>());
    let eos: Vec<f32> = row_ids.map(|row| config.eos_index(&row) as f32).collect();
    for (states, name) in [(TextStates::Last, "last"), (TextStates::Penultimate, "penultimate")] {
        if !golden.has(&format!("{component}.{name}")) {
            continue;
        }
        let program = clip_program(&config, rows, tokens, states).unwrap();
        let mut frame = vec![&*ids];
        frame.extend(config.projection_dim.map(|_| &*eos));
        let outputs = run(executor, program, &golden.weights(component), &[], &frame);
        assert_close(executor, &format!("{what} {name}"), &outputs[0], &golden.numbers(&format!("{component}.{name}")));
        if config.projection_dim.is_some() {
            assert_close(
                executor,
                &format!("{what} pooled"),
                &outputs[1],
                &golden.numbers(&format!("{component}.pooled")),
            );
        }
    }
}

#[test]
fn text_encoders_give_the_states_that_transformers_gives() {
    for component in ["text_encoder", "text_encoder_2"] {
        everywhere(component, |golden, executor, what| check_text_encoder(golden, executor, component, what));
    }
}

#[test]
fn pictures_go_to_latents_and_back_as_in_diffusers() {
    everywhere("vae", |golden, executor, what| {
        let autoencoder = Autoencoder::from_json(&golden.config("vae")).unwrap();
        let &[rows, height, width, _] = golden.shape("vae.picture") else { panic!("no picture") };
        let weights = golden.weights("vae");
        let encoder = autoencoder.encoder_program(rows, height, width).unwrap();
        let latent = run(executor, encoder, &weights, &[], &[&golden.numbers("vae.picture")]).remove(0);
        assert_close(executor, &format!("{what}, encoding"), &latent, &golden.numbers("vae.latent"));
        let decoder = autoencoder.decoder_program(rows, height, width).unwrap();
        let picture = run(executor, decoder, &weights, &[], &[&golden.numbers("vae.latent")]).remove(0);
        assert_close(executor, &format!("{what}, decoding"), &picture, &golden.numbers("vae.decoded"));
    });
}

#[test]
fn a_program_asks_for_all_weights_of_its_checkpoint_and_no_more() {
    everywhere("unet", |golden, _, what| {
        let config = UnetConfig::from_json(&golden.config("unet")).unwrap();
        let side = config.latent_multiple();
        let shape = UnetShape {
            text_tokens: 1,
            guidance_embedding: config.time.cond_dim.is_some(),
            ..UnetShape::new(1, side, side)
        };
        let program = unet_program(&config, &shape).unwrap();
        let mut asked: Vec<&str> = program.weights().iter().map(|weight| &*weight.name).collect();
        let weights = golden.weights("unet");
        for weight in program.weights() {
            assert_eq!(weights.source().shape(&weight.name).as_ref(), Some(&weight.shape), "{what}: {}", weight.name);
        }
        let file = golden.weight_tensors("unet");
        let mut there: Vec<&str> = file.names().collect();
        asked.sort_unstable();
        there.sort_unstable();
        assert_eq!(asked, there, "{what}");
    });
}

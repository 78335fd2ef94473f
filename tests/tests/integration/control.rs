//! ControlNets against diffusers, on every executor: at most 1e-4 of the largest number apart, which is what `f32` leaves
//! after sums in another order; for values in bf16 at most 4e-2 by the mean square, as of other networks.

use std::sync::Arc;

use dreamframe::Result;
use dreamframe::control::Residuals;
use dreamframe::exec::{Executor, HostQueue, ViewMut};
use dreamframe::models::{
    ControlNetModelConfig, ControlNetShape, UnetConfig, UnetShape, controlnet_embedding_program, controlnet_program,
    residual_shapes, time_ids_embedding, timestep_embedding, unet_program,
};
use dreamframe::net::{WeightSource, Weights};
use dreamframe_tests::{Golden, Tensors, assert_close, executors, relative_error, run};

/// The weights of a ControlNet that has its UNet's where it has none of its own.
struct Shared(Tensors, Tensors);

impl WeightSource for Shared {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        WeightSource::shape(&self.0, name).or_else(|| WeightSource::shape(&self.1, name))
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        if self.0.has(name) { self.0.read(name, shape) } else { self.1.read(name, shape) }
    }
}

/// The UNet of a family with its inputs, and what diffusers made with ControlNets.
struct Case {
    golden: Golden,
    control: Tensors,
    config: UnetConfig,
    rows: usize,
    size: (usize, usize),
    text_of_row: Vec<usize>,
    constant: Vec<Vec<f32>>,
}

impl Case {
    fn new(family: &str) -> Self {
        let golden = Golden::family(family);
        let config = UnetConfig::from_json(&golden.config("unet")).unwrap();
        let &[rows, height, width, _] = golden.shape("unet.sample") else { panic!("no latent") };
        let mut constant = vec![golden.numbers("unet.encoder_hidden_states")];
        constant.push(timestep_embedding(&golden.numbers("unet.timesteps"), &config));
        if config.added.is_some() {
            constant.push(golden.numbers("unet.pooled"));
            constant.push(time_ids_embedding(golden.numbers("unet.time_ids").as_chunks().0, &config));
        }
        Self {
            control: golden.beside("control.safetensors"),
            text_of_row: golden.numbers("unet.text_of_row").iter().map(|&text| text as usize).collect(),
            size: (height, width),
            golden,
            config,
            rows,
            constant,
        }
    }

    fn constant(&self) -> Vec<&[f32]> {
        self.constant.iter().map(Vec::as_slice).collect()
    }

    fn texts(&self) -> (usize, usize) {
        let &[rows, tokens, _] = self.golden.shape("unet.encoder_hidden_states") else { panic!("no text") };
        (rows, tokens)
    }

    /// What the ControlNet in `folder` makes of `images`, one for all rows or one a row.
    fn residuals(&self, executor: &dyn Executor, folder: &str, images: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let config = ControlNetModelConfig::from_json(&self.golden.config(folder)).unwrap();
        config.check_fits(&self.config, config.scale()).unwrap();
        let weights = Shared(self.golden.weight_tensors(folder), self.golden.weight_tensors("unet"));
        let weights = Weights::new(Arc::new(weights));
        let (height, width) = self.size;
        let channels = config.channels(None).unwrap();
        let scale = config.scale();
        let mut embeddings = Vec::new();
        for image in images {
            let program = controlnet_embedding_program(&config, channels, height * scale, width * scale).unwrap();
            embeddings.extend(run(executor, program, &weights, &[], &[image]).remove(0));
        }
        if images.len() == 1 {
            assert_close(executor, "embedding", &embeddings, &self.control.numbers(&format!("{folder}.embedding")));
        }
        let (text_rows, text_tokens) = self.texts();
        let shape = ControlNetShape {
            text_rows,
            text_tokens,
            text_of_row: self.text_of_row.clone(),
            image_per_row: images.len() > 1,
            ..ControlNetShape::new(self.rows, height, width)
        };
        let program = controlnet_program(&config, &shape).unwrap();
        let sample = self.golden.numbers("unet.sample");
        run(executor, program, &weights, &self.constant(), &[&sample, &embeddings])
    }

    /// What the UNet predicts with networks summed, each with a weight for every row.
    fn eps(&self, executor: &dyn Executor, nets: &[(Vec<Vec<f32>>, [f32; 3])]) -> Vec<f32> {
        let (height, width) = self.size;
        let lens = residual_shapes(&self.config, height, width).iter().map(|shape| shape.len()).collect();
        let mut sum = Residuals::new(&HostQueue, lens, self.rows, nets.len()).unwrap();
        sum.begin();
        for (net, weights) in nets {
            let fill = |tensors: &mut [ViewMut<'_>]| {
                tensors.iter_mut().zip(net).for_each(|(tensor, given)| tensor.host().unwrap().copy_from_slice(given));
                Ok(())
            };
            sum.add(&HostQueue, weights, fill).unwrap();
        }
        let sample = self.golden.numbers("unet.sample");
        let mut frame = vec![sample.as_slice()];
        frame.extend(sum.finish(&HostQueue, self.rows).unwrap().map(|tensor| tensor.host().unwrap()));
        let (text_rows, text_tokens) = self.texts();
        let shape = UnetShape {
            text_rows,
            text_tokens,
            text_of_row: self.text_of_row.clone(),
            residuals: true,
            ..UnetShape::new(self.rows, height, width)
        };
        let program = unet_program(&self.config, &shape).unwrap();
        run(executor, program, &self.golden.weights("unet"), &self.constant(), &frame).remove(0)
    }

    fn image(&self, folder: &str) -> Vec<f32> {
        self.control.numbers(&format!("{folder}.image"))
    }
}

/// Calls `body` with every executor and every family.
fn everywhere(body: impl Fn(&Case, &dyn Executor, &str)) {
    for family in ["sd15", "sd21", "sdxl", "sdxs-dreamshaper"] {
        let case = Case::new(family);
        for (name, executor) in executors() {
            body(&case, &*executor, &format!("{family} on {name}"));
        }
    }
}

#[test]
fn a_controlnet_gives_the_residuals_that_diffusers_gives() {
    everywhere(|case, executor, what| {
        let residuals = case.residuals(executor, "controlnet", &[case.image("controlnet")]);
        for (i, residual) in residuals.iter().enumerate() {
            let expected = case.control.numbers(&format!("controlnet.residual.{i}"));
            // The second row's are stored.
            let row = &residual[expected.len()..2 * expected.len()];
            assert_close(executor, &format!("{what}, residual {i}"), row, &expected);
        }
        assert!(!case.control.has(&format!("controlnet.residual.{}", residuals.len())), "{what}");
    });
}

#[test]
fn the_unet_predicts_with_a_controlnet_what_diffusers_predicts() {
    everywhere(|case, executor, what| {
        let residuals = case.residuals(executor, "controlnet", &[case.image("controlnet")]);
        let eps = case.eps(executor, &[(residuals, [0.6; 3])]);
        assert_close(executor, what, &eps, &case.control.numbers("one.eps"));
        assert!(relative_error(&eps, &case.golden.numbers("unet.eps")) > 1e-2, "{what}: the ControlNet counts");
    });
}

#[test]
fn two_controlnets_of_different_channels_are_summed() {
    let case = Case::new("sd15");
    for (name, executor) in executors() {
        let [one, two] =
            ["controlnet", "controlnet_6"].map(|folder| case.residuals(&*executor, folder, &[case.image(folder)]));
        let eps = case.eps(&*executor, &[(one, [0.6; 3]), (two, [0.35; 3])]);
        assert_close(&*executor, &name, &eps, &case.control.numbers("two.eps"));
    }
}

#[test]
fn rows_have_their_own_images_and_weights() {
    let case = Case::new("sd15");
    let image = case.image("controlnet");
    let dimmed = |times: i32| image.iter().map(|value| value * 0.5_f32.powi(times)).collect();
    let images: [Vec<f32>; 3] = [dimmed(0), dimmed(1), dimmed(2)];
    for (name, executor) in executors() {
        let one = case.residuals(&*executor, "controlnet", &images);
        let two = case.residuals(&*executor, "controlnet_6", &[case.image("controlnet_6")]);
        let eps = case.eps(&*executor, &[(one, [0.6; 3]), (two, [0.0, 0.35, 0.35])]);
        assert_close(&*executor, &name, &eps, &case.control.numbers("rows.eps"));
    }
}

#[test]
fn zero_residuals_change_nothing() {
    everywhere(|case, executor, what| {
        let eps = case.eps(executor, &[]);
        let plain = dreamframe_tests::run_unet(&case.golden, executor, case.rows, false);
        assert_eq!(eps, plain, "{what}");
    });
}

#[test]
fn a_program_asks_for_all_weights_of_its_checkpoint_and_no_more() {
    let case = Case::new("sd15");
    let config = ControlNetModelConfig::from_json(&case.golden.config("controlnet_6")).unwrap();
    let programs = [
        controlnet_embedding_program(&config, 6, 8, 8).unwrap(),
        controlnet_program(&config, &ControlNetShape::new(1, 8, 8)).unwrap(),
    ];
    let asked = programs.iter().flat_map(|program| program.weights());
    let mut asked: Vec<&str> = asked.map(|weight| &*weight.name).filter(|name| name.contains("controlnet")).collect();
    let file = case.golden.weight_tensors("controlnet_6");
    let mut there: Vec<&str> = file.names().collect();
    asked.sort_unstable();
    there.sort_unstable();
    assert_eq!(asked, there);
}

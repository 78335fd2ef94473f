//! Random changes of the parameters of an engine of [`Kit`](crate::kit::Kit), valid and not.

use serde_json::{Value, json};

use crate::controlnets::RIFE;

/// A sequence that looks random and is the same every time.
#[derive(Debug, Clone)]
pub struct Draw(pub u64);

impl Draw {
    /// Returns a number from 0 to `bound`, which is excluded.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    /// Returns one of `all`.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Returns a multiple of a thousandth from 0 to 1.
    pub fn unit(&mut self) -> f64 {
        self.below(1001) as f64 / 1000.0
    }
}

/// A patch of one or two fields; some are rejected immediately, some when they are prepared.
pub fn patch(draw: &mut Draw) -> Value {
    let mut patch = json!({});
    for _ in 0..1 + draw.below(2) {
        let (name, value) = change(draw);
        patch[name] = value;
    }
    patch
}

fn change(draw: &mut Draw) -> (&'static str, Value) {
    match draw.below(31) {
        0 => ("prompt", json!(draw.of(&["a mosaic", "moonlit night", "a photo", ""]))),
        1 => ("prompt", json!([[draw.of(&["snow", "fog"]), draw.unit() + 0.1], ["a mosaic", draw.unit()]])),
        2 => ("guidance_scale", json!(draw.unit() * 3.0)),
        3 => ("delta", json!(draw.unit() * 2.0)),
        4 => ("t_index_list", draw.of(&[json!([45]), json!([41, 46]), json!([38, 43, 47]), json!([51])]).clone()),
        5 => ("seed", json!(draw.below(1000))),
        6 => ("controlnets", nets(draw)),
        7 => (
            "lora_dict",
            draw.of(&[json!({}), json!({"lora-a": 0.5}), json!({"lora-a": 1, "lora-b": -0.5}), json!({"none": 1})])
                .clone(),
        ),
        8 => ("ip_adapter", json!({"enabled": draw.below(2) == 0, "scale": draw.unit()})),
        9 => ("ip_adapter", json!({"weight_type": draw.of(&["linear", "ease in", "style transfer", "none such"])})),
        10 => ("cached_attention", json!({"enabled": draw.below(2) == 0, "max_frames": 1 + draw.below(5)})),
        11 => ("image_preprocessing", chain(draw, &["blur", "canny", "feedback", "sharpen", "depth"])),
        12 => ("image_postprocessing", chain(draw, &["blur", "soft_edge", "sharpen", "passthrough"])),
        13 => ("latent_preprocessing", chain(draw, &["latent_feedback"])),
        14 => ("latent_postprocessing", chain(draw, &["latent_feedback", "blur"])),
        15 => ("width", json!(draw.of(&[64, 96, 65, 128]))),
        16 => ("model_id", json!(draw.of(&["first-demo", "second-demo", "third"]))),
        17 => ("use_denoising_batch", json!(draw.below(2) == 0)),
        18 => match draw.below(4) {
            0 => ("do_add_noise", json!(draw.below(2) == 0)),
            1 => ("timestep_spacing", json!(draw.of(&["lcm", "trailing", "leading", "linspace", "karras"]))),
            2 => ("scheduler", json!(draw.of(&["lcm", "ddim", "tcd", "karras"]))),
            _ => ("eta", json!(draw.of(&[0.0, 0.3, 1.0, 1.5]))),
        },
        19 => ("skip_diffusion", json!(draw.below(4) == 0)),
        20 => ("use_safety_checker", json!(draw.below(2) == 0)),
        21 => ("enable_similar_image_filter", json!(draw.below(2) == 0)),
        22 => ("num_inference_steps", json!(draw.of(&[50, 30, 60, 0, 101]))),
        23 => ("cfg_type", json!(draw.of(&["none", "self", "full", "initialize", "half"]))),
        24 => (
            *draw.of(&["controlnets", "ip_adapter", "image_preprocessing", "negative_prompt", "cfg_type", "lora_dict"]),
            Value::Null,
        ),
        25 => ("image_postprocessing", chain(draw, &["blur", "sharpen"])["processors"].take()),
        26 => {
            let networks = [Value::Null, json!("none"), json!(RIFE[0]), json!(RIFE[1])];
            let network = draw.of(&networks).clone();
            ("interpolation", json!({"factor": draw.below(6), "scene_cut": draw.unit(), "model_id": network}))
        }
        27 => (
            "cached_attention",
            json!({"feature_injection_strength": draw.below(3) as f64 * 0.4, "token_merging": draw.below(2) == 0}),
        ),
        28 => ("img2img_turbo", json!({"strength": draw.unit() * 1.5, "direction": draw.of(&["a2b", "b2a", "back"])})),
        29 => ("feature_reuse", json!({"interval": draw.below(5), "max_error": draw.unit() * 2.5})),
        _ => (*draw.of(&["negative_prompt", "no_such_field", "acceleration"]), json!("tensorrt")),
    }
}

fn nets(draw: &mut Draw) -> Value {
    let mut list = Vec::new();
    for id in ["net-a", "net-b", "net-c", "net-none"] {
        if draw.below(3) == 0 {
            let preprocessor = draw.of(&[Value::Null, json!("canny"), json!("soft_edge")]).clone();
            let scale = *draw.of(&[0.0, 0.3, 1.0, 1.5]);
            list.push(json!({"model_id": id, "preprocessor": preprocessor, "conditioning_scale": scale}));
        }
    }
    if draw.below(2) == 0 {
        list.reverse();
    }
    Value::Array(list)
}

/// Returns a chain of at most two processors of `kinds`, each on or off.
pub fn chain(draw: &mut Draw, kinds: &[&str]) -> Value {
    let count = draw.below(3);
    let processors: Vec<Value> =
        (0..count).map(|_| json!({"type": draw.of(kinds), "enabled": draw.below(4) != 0})).collect();
    json!({ "processors": processors })
}

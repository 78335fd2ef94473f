//! Mapping of the layers of a LoRA to weights.
//!
//! Trainers name layers with dots or with underscores, by the names of diffusers or of the original code. Names are not
//! parsed. Instead all names of each weight of the model are derived from its own, and a layer's name is looked up among
//! them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::lora_names::other_names;
use crate::error::{Error, ErrorKind, Result};
use crate::net::{LoraLayer, LowRank, WeightSpec, same_layout};

/// A network of a model that LoRAs change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LoraTarget {
    /// The UNet.
    Unet,
    /// The text encoder; of two the first.
    TextEncoder,
    /// The second text encoder, of SDXL.
    TextEncoder2,
}

/// The prefixes of the names of each network's layers, dots as underscores; longer ones before those that they begin
/// with.
const PREFIXES: [(&str, LoraTarget); 11] = [
    ("lora_unet_", LoraTarget::Unet),
    ("model_diffusion_model_", LoraTarget::Unet),
    ("diffusion_model_", LoraTarget::Unet),
    ("unet_", LoraTarget::Unet),
    ("lora_te2_", LoraTarget::TextEncoder2),
    ("text_encoder_2_", LoraTarget::TextEncoder2),
    ("text_encoders_clip_g_transformer_", LoraTarget::TextEncoder2),
    ("lora_te1_", LoraTarget::TextEncoder),
    ("lora_te_", LoraTarget::TextEncoder),
    ("text_encoder_", LoraTarget::TextEncoder),
    ("text_encoders_clip_l_transformer_", LoraTarget::TextEncoder),
];
/// What PEFT puts before everything.
const WRAPPER: &str = "base_model_model_";

/// All names by which the weights of a model go.
#[derive(Debug, Clone, Default)]
pub struct LoraNames {
    // By the name without `.weight`, dots as underscores.
    tables: BTreeMap<LoraTarget, HashMap<String, WeightSpec>>,
}

impl LoraNames {
    /// Returns the names of `networks`, each with the weights of its program.
    pub fn new<'a>(networks: impl IntoIterator<Item = (LoraTarget, &'a [WeightSpec])>) -> Self {
        let mut tables: BTreeMap<LoraTarget, HashMap<String, WeightSpec>> = BTreeMap::new();
        for (target, specs) in networks {
            // Biases and norms are vectors, which no product of matrices changes.
            let layers = || {
                let matrices = specs.iter().filter(|spec| spec.shape.len() > 1);
                matrices.filter_map(|spec| Some((spec.name.strip_suffix(".weight")?, spec)))
            };
            let table = tables.entry(target).or_default();
            for (name, spec) in layers() {
                table.insert(flat(name), spec.clone());
            }
            // A weight's own name counts before another's other names.
            for (name, spec) in layers() {
                for other in other_names(name, specs) {
                    table.entry(flat(&other)).or_insert_with(|| spec.clone());
                }
            }
        }
        Self { tables }
    }

    /// Returns the weight that a LoRA's layer `name` changes.
    pub fn find(&self, name: &str) -> Option<(LoraTarget, &WeightSpec)> {
        let flat = flat(name);
        let flat = flat.strip_prefix(WRAPPER).unwrap_or(&flat);
        let prefixed = PREFIXES.iter().find_map(|&(prefix, target)| Some((target, flat.strip_prefix(prefix)?)));
        let bare = [LoraTarget::Unet, LoraTarget::TextEncoder].map(|target| (target, flat));
        let bare = bare.into_iter().filter(|_| prefixed.is_none());
        prefixed.into_iter().chain(bare).find_map(|(target, rest)| {
            let rest = rest.strip_prefix(WRAPPER).unwrap_or(rest);
            Some((target, self.tables.get(&target)?.get(rest)?))
        })
    }

    /// Finds what each of `layers` changes.
    ///
    /// # Errors
    ///
    /// `BadModel` if a layer has another shape here, naming its tensor and both shapes, and if there is none of them.
    pub fn changes(&self, layers: impl IntoIterator<Item = LoraLayer>) -> Result<LoraChanges> {
        let mut found = LoraChanges::default();
        for LoraLayer { name, key, change } in layers {
            let Some((target, spec)) = self.find(&name) else {
                found.unused.push(key);
                continue;
            };
            if !same_layout(change.shape(), &spec.shape) {
                let (has, shape) = (&spec.shape, change.shape());
                let text =
                    format!("tensor {key:?}: got a change of shape {shape:?}, expected {has:?} as in {}", spec.name);
                return Err(Error::new(ErrorKind::BadModel, text));
            }
            let of_target = found.changes.entry(target).or_default();
            // Some files have a layer under two names; it counts once.
            if of_target.contains_key(&spec.name) {
                found.unused.push(key);
            } else {
                of_target.insert(spec.name.clone(), Arc::new(change));
            }
        }
        if found.changes.is_empty() {
            let (count, first) = (found.unused.len(), found.unused.first().map_or("", String::as_str));
            let text = format!("the model has none of its {count} layers; the first is {first:?}");
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        Ok(found)
    }
}

/// What a LoRA changes of a model.
#[derive(Debug, Default)]
pub struct LoraChanges {
    changes: BTreeMap<LoraTarget, BTreeMap<String, Arc<LowRank>>>,
    /// Layers that the model does not have, by the names of their tensors.
    pub unused: Vec<String>,
}

impl LoraChanges {
    /// Returns what changes of `target`, by the names of its weights.
    pub fn of(&self, target: LoraTarget) -> impl Iterator<Item = (&str, &Arc<LowRank>)> {
        self.changes.get(&target).into_iter().flatten().map(|(name, change)| (name.as_str(), change))
    }
}

fn flat(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::models::known::{KNOWN_MODELS, known_model};
    use crate::models::{ClipTextConfig, TextStates, UnetConfig, UnetShape, clip_program, smallest_unet, unet_program};
    use crate::net::Branches;

    fn unet(config: &str) -> Vec<WeightSpec> {
        let config = UnetConfig::from_json(config).unwrap();
        let side = config.latent_multiple();
        let shape = UnetShape { text_tokens: 1, ..UnetShape::new(1, side, side) };
        unet_program(&config, &shape).unwrap().weights().to_vec()
    }

    fn text(config: &str) -> Vec<WeightSpec> {
        let config = ClipTextConfig::from_json(config).unwrap();
        clip_program(&config, 1, 77, TextStates::Last).unwrap().weights().to_vec()
    }

    fn sdxl() -> LoraNames {
        let model = known_model("sdxl-turbo").unwrap();
        let [unet, one, two] = [unet(model.unet), text(model.text_encoders[0]), text(model.text_encoders[1])];
        LoraNames::new([
            (LoraTarget::Unet, &*unet),
            (LoraTarget::TextEncoder, &*one),
            (LoraTarget::TextEncoder2, &*two),
        ])
    }

    #[track_caller]
    fn assert_means(names: &LoraNames, layer: &str, target: LoraTarget, weight: &str) {
        let found = names.find(layer).map(|(target, spec)| (target, &*spec.name));
        assert_eq!(found, Some((target, &*format!("{weight}.weight"))), "{layer}");
    }

    #[test]
    fn every_trainer_s_names_are_known() {
        use LoraTarget::{TextEncoder, TextEncoder2, Unet};
        let names = sdxl();
        let attention = "down_blocks.1.attentions.0.transformer_blocks.1.attn2";
        for (layer, target, weight) in [
            ("unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2.processor.to_q_lora", Unet, "to_q"),
            ("down_blocks.1.attentions.0.transformer_blocks.1.attn2.processor.to_out_lora", Unet, "to_out.0"),
            ("base_model.model.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k", Unet, "to_k"),
            ("unet.base_model.model.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k", Unet, "to_k"),
            ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_1_attn2_to_out_0", Unet, "to_out.0"),
            ("lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_v", Unet, "to_v"),
            ("diffusion_model.input_blocks.4.1.transformer_blocks.1.attn2.to_out.0", Unet, "to_out.0"),
        ] {
            assert_means(&names, layer, target, &format!("{attention}.{weight}"));
        }
        for (layer, weight) in [
            ("lora_unet_input_blocks_0_0", "conv_in"),
            ("lora_unet_out_2", "conv_out"),
            ("lora_unet_time_embed_2", "time_embedding.linear_2"),
            ("lora_unet_label_emb_0_0", "add_embedding.linear_1"),
            ("lora_unet_input_blocks_3_0_op", "down_blocks.0.downsamplers.0.conv"),
            ("lora_unet_input_blocks_4_0_skip_connection", "down_blocks.1.resnets.0.conv_shortcut"),
            ("lora_unet_input_blocks_8_1_proj_in", "down_blocks.2.attentions.1.proj_in"),
            (
                "lora_unet_middle_block_1_transformer_blocks_9_ff_net_0_proj",
                "mid_block.attentions.0.transformer_blocks.9.ff.net.0.proj",
            ),
            ("lora_unet_middle_block_2_emb_layers_1", "mid_block.resnets.1.time_emb_proj"),
            ("lora_unet_output_blocks_2_2_conv", "up_blocks.0.upsamplers.0.conv"),
            ("lora_unet_output_blocks_3_0_in_layers_2", "up_blocks.1.resnets.0.conv1"),
            ("lora_unet_output_blocks_8_0_out_layers_3", "up_blocks.2.resnets.2.conv2"),
        ] {
            assert_means(&names, layer, Unet, weight);
        }
        let q = "text_model.encoder.layers.11.self_attn.q_proj";
        for (layer, target) in [
            ("lora_te1_text_model_encoder_layers_11_self_attn_q_proj", TextEncoder),
            ("lora_te_text_model_encoder_layers_11_self_attn_q_proj", TextEncoder),
            ("text_encoder.text_model.encoder.layers.11.self_attn.to_q_lora", TextEncoder),
            ("text_encoder.encoder.layers.11.self_attn.q_proj", TextEncoder),
            ("text_model.encoder.layers.11.self_attn.q_proj", TextEncoder),
            ("lora_te2_text_model_encoder_layers_11_self_attn_q_proj", TextEncoder2),
            ("text_encoder_2.text_model.encoder.layers.11.self_attn.q_proj", TextEncoder2),
        ] {
            assert_means(&names, layer, target, q);
        }
        assert_means(&names, "lora_te2_text_projection", TextEncoder2, "text_projection");
        for nothing in
            ["lora_unet_input_blocks_9_1_proj_in", "lora_te3_text_projection", "lora_te1_text_projection", ""]
        {
            assert!(names.find(nothing).is_none(), "{nothing}");
        }
    }

    fn layer(name: &str, shape: &[usize]) -> LoraLayer {
        let columns = shape[1..].iter().product();
        let change = LowRank::new(shape.to_vec(), 1, vec![1.0; shape[0]], vec![1.0; columns], 1.0).unwrap();
        LoraLayer { name: name.into(), key: format!("{name}.lora_down.weight"), change }
    }

    #[test]
    fn layers_that_do_not_fit_are_refused_and_unknown_ones_listed() {
        let names = sdxl();
        let one = layer("lora_unet_conv_in", &[320, 4, 3, 3]);
        let twice = layer("lora_unet_input_blocks_0_0", &[320, 4, 3, 3]);
        let other = layer("lora_unet_down_blocks_7_resnets_0_conv1", &[4, 4]);
        let found = names.changes([one, twice, other]).unwrap();
        assert_eq!(found.of(LoraTarget::Unet).map(|(name, _)| name).collect::<Vec<_>>(), ["conv_in.weight"]);
        let unused = ["input_blocks_0_0", "down_blocks_7_resnets_0_conv1"];
        assert_eq!(found.unused, unused.map(|name| format!("lora_unet_{name}.lora_down.weight")));
        let error = names.changes([layer("lora_unet_conv_in", &[320, 9, 3, 3])]).unwrap_err();
        for part in
            ["\"lora_unet_conv_in.lora_down.weight\"", "[320, 9, 3, 3]", "expected [320, 4, 3, 3] as in conv_in.weight"]
        {
            assert!(error.to_string().contains(part), "{error}");
        }
        let error = names.changes([layer("lora_unet_x", &[2, 2])]).unwrap_err();
        assert!(error.kind() == ErrorKind::BadModel && error.to_string().contains("none of its 1 layers"), "{error}");
    }

    #[test]
    fn every_layer_of_a_known_unet_that_a_lora_changes_can_have_a_branch() {
        for model in KNOWN_MODELS {
            let program = smallest_unet(&UnetConfig::from_json(model.unet).unwrap()).unwrap();
            let named = LoraNames::new([(LoraTarget::Unet, program.weights())]);
            let specs = named.tables[&LoraTarget::Unet].values();
            let changes: BTreeMap<_, _> =
                specs.map(|spec| (spec.name.clone(), layer("", &spec.shape).change)).collect();
            let (count, ops) = (changes.len(), program.ops().len());
            let branches = Branches::new([changes.into_iter().map(|(name, change)| (name, Arc::new(change)))]);
            let with_branches = branches.add_to(program).unwrap();
            assert!(count > 100 && with_branches.ops().len() == ops + 4 * count, "{}: {count}", model.name);
        }
    }

    #[test]
    fn no_two_weights_of_a_model_go_by_one_name() {
        for model in KNOWN_MODELS {
            let specs = unet(model.unet);
            let mut seen = HashSet::new();
            for spec in specs.iter().filter(|spec| spec.shape.len() > 1) {
                let name = spec.name.strip_suffix(".weight").unwrap();
                for name in other_names(name, &specs).chain([name.to_owned()]) {
                    assert!(seen.insert(flat(&name)), "{}: {name}", model.name);
                }
            }
        }
    }
}

//! Validation: the constraint of each value, from the field table, and rules between values.

use serde_json::{Map, Value};

use super::constraint::{Checker, Constraint};
use super::fields::{self, Entry, FIELDS, Field, fields_of, join};
use super::known_models::{controlnet_family, model_family};
use super::values::{Access, Item};
use super::{IPAdapterType, ProcessingConfig, ProcessorName, StreamDiffusionParams, Weighted};
use crate::{Error, Result, Violation};

/// The minimum similarity of a misspelt name and a suggestion; 1 for equal names.
const MIN_SIMILARITY: f64 = 0.7;

impl ProcessorName {
    /// Checks settings of the processor; unknown ones are ignored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidParams`](crate::ErrorKind::InvalidParams) with every violation.
    pub fn check(self, settings: &Map<String, Value>) -> Result<()> {
        let mut checker = Checker::of_json();
        check_settings(self.name(), self, settings, &mut checker);
        let violations = checker.finish();
        if violations.is_empty() { Ok(()) } else { Err(Error::invalid_params(violations)) }
    }
}

impl StreamDiffusionParams {
    /// Checks every rule.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidParams`](crate::ErrorKind::InvalidParams) with every violation.
    pub fn validate(&self) -> Result<()> {
        let violations = self.violations();
        if violations.is_empty() { Ok(()) } else { Err(Error::invalid_params(violations)) }
    }

    /// Lists every violation, with path, value and bound; empty for valid parameters.
    pub fn violations(&self) -> Vec<Violation> {
        let mut checker = Checker::of_params();
        self.check_rows(&mut checker);
        self.check_indices(&mut checker);
        check_weights("prompt", &self.prompt, self.normalize_prompt_weights, &mut checker);
        check_weights("seed", &self.seed, self.normalize_seed_weights, &mut checker);
        self.check_controlnets(&mut checker);
        self.check_ip_adapter(&mut checker);
        self.check_img2img_turbo(&mut checker);
        for (name, chain) in self.chains() {
            check_chain(name, chain, &mut checker);
        }
        for name in self.lora_dict.keys().filter(|name| name.is_empty()) {
            checker.refuse("lora_dict", format!("got the name {name:?}, expected the id or path of a LoRA"));
        }
        checker.finish()
    }

    /// Checks every value by its row.
    pub(super) fn check_rows(&self, checker: &mut Checker) {
        for field in FIELDS {
            if let Some(access) = field.access.of_params()
                && !access.is_within(self, &field.constraint)
            {
                checker.check(field.path, &field.constraint, &access.to_json(self));
            }
            match field.access {
                Access::ControlNets(list) => check_fields(field, (list.get)(self), checker),
                Access::Processors(list) => check_fields(field, (list.get)(self), checker),
                Access::Value(_) | Access::Named(_) | Access::ControlNet(_) | Access::Processor(_) => {}
            }
        }
    }

    /// The four processing chains, by their names.
    pub(crate) fn chains(&self) -> [(&'static str, &ProcessingConfig); 4] {
        [
            ("image_preprocessing", &self.image_preprocessing),
            ("image_postprocessing", &self.image_postprocessing),
            ("latent_preprocessing", &self.latent_preprocessing),
            ("latent_postprocessing", &self.latent_postprocessing),
        ]
    }

    fn check_indices(&self, checker: &mut Checker) {
        let steps = self.num_inference_steps;
        let mut before = 0;
        for (i, &index) in self.t_index_list.iter().enumerate() {
            let path = format!("t_index_list[{i}]");
            if steps <= index {
                checker.refuse(&path, format!("got {index}, expected less than num_inference_steps ({steps})"));
            }
            if index < before {
                checker.refuse(&path, format!("got {index}, expected at least the index before it ({before})"));
            }
            before = index;
        }
    }

    fn check_controlnets(&self, checker: &mut Checker) {
        let base = model_family(&self.model_id);
        for (i, net) in self.controlnets.iter().enumerate() {
            let path = format!("controlnets[{i}]");
            let (id, model) = (&net.model_id, &self.model_id);
            if self.controlnets.iter().take(i).any(|other| other.model_id == *id) {
                checker.refuse(format!("{path}.model_id"), format!("got {id:?} a second time, expected each id once"));
            }
            if let (Some(base), Some(own)) = (base, controlnet_family(id))
                && base != own
            {
                let message = format!("got {id:?} for {}, expected one for {model:?} ({})", own.name, base.name);
                checker.refuse(format!("{path}.model_id"), message);
            }
            let (start, end) = (net.control_guidance_start, net.control_guidance_end);
            if end < start {
                let message = format!("got {start}, expected at most control_guidance_end ({end})");
                checker.refuse(format!("{path}.control_guidance_start"), message);
            }
            if let Some(name) = net.preprocessor {
                if name.is_latent() {
                    let message = format!("got {:?}, expected a processor of images", name.name());
                    checker.refuse(format!("{path}.preprocessor"), message);
                }
                check_settings(&format!("{path}.preprocessor_params"), name, &net.preprocessor_params, checker);
            }
        }
        let enabled = self.controlnets.iter().filter(|net| net.enabled).count();
        if let Some((family, most)) = base.and_then(|family| Some((family, family.max_controlnets?)))
            && most < enabled
        {
            let message = format!("got {enabled} enabled, expected at most {most} with {}", family.name);
            checker.refuse("controlnets", message);
        }
    }

    fn check_ip_adapter(&self, checker: &mut Checker) {
        if let Some(family) = model_family(&self.model_id).filter(|_| self.ip_adapter.enabled) {
            if !family.image_adapters {
                let message = format!(
                    "got true, expected false: there is no IP-Adapter for {:?}, {}",
                    self.model_id, family.name
                );
                checker.refuse("ip_adapter.enabled", message);
            } else if self.ip_adapter.kind == IPAdapterType::Faceid && !family.face_adapters {
                let message = format!("got \"faceid\", expected \"regular\": {:?} is not SDXL", self.model_id);
                checker.refuse("ip_adapter.type", message);
            }
        }
        let url = &self.ip_adapter_style_image_url;
        if !url.is_empty() && !url.is_source() {
            let bound = "an http(s) URL, a data URL of an image or a face, or base64";
            checker.refuse_value("ip_adapter_style_image_url", &url.as_str().into(), bound);
        }
    }

    /// img2img-turbo makes one step, and was trained without guidance.
    fn check_img2img_turbo(&self, checker: &mut Checker) {
        if self.img2img_turbo.weights.is_none() {
            return;
        }
        let (count, scale) = (self.t_index_list.len(), self.guidance_scale);
        if count != 1 {
            checker.refuse("t_index_list", format!("got {count} indices, expected 1 with img2img_turbo.weights"));
        }
        if self.cfg_type.active(scale as f32) {
            let message = format!("got {scale}, expected at most 1 with img2img_turbo.weights, or cfg_type \"none\"");
            checker.refuse("guidance_scale", message);
        }
    }
}

/// Checks the fields of every item of a list.
fn check_fields<I: Item>(list: &Field, items: &[I], checker: &mut Checker) {
    for (i, item) in items.iter().enumerate() {
        for (field, name, access) in fields_of::<I>(list) {
            if !access.is_within(item, &field.constraint) {
                checker.check(&format!("{}[{i}].{name}", list.path), &field.constraint, &access.to_json(item));
            }
        }
    }
}

/// Checks an object: `rule` is its path in the field table, `path` the one in messages.
///
/// Missing names have their defaults, except for those that an item must have.
pub(super) fn check_object(rule: &str, path: &str, values: &Map<String, Value>, checker: &mut Checker) {
    for (name, value) in values {
        let entry = fields::entry(rule, name);
        let (object, rule, path) = (rule, join(rule, name), join(path, name));
        match (entry, value) {
            (Some(Entry::Field(field)), _) => {
                checker.check(&path, &field.constraint, value);
                if let (Constraint::Items { .. }, Value::Array(items)) = (field.constraint, value) {
                    check_items(&rule, &path, items, checker);
                }
            }
            (Some(Entry::Object), Value::Object(values)) => check_object(&rule, &path, values, checker),
            (Some(Entry::Object), _) => checker.refuse_value(&path, value, "an object"),
            (None, _) => refuse_name(object, name, &path, checker),
        }
    }
}

fn check_items(rule: &str, path: &str, items: &[Value], checker: &mut Checker) {
    let rule = format!("{rule}[]");
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let Value::Object(values) = item else {
            checker.refuse_value(&path, item, "an object");
            continue;
        };
        check_object(&rule, &path, values, checker);
        for field in FIELDS.iter().filter(|field| field.required) {
            let name = field.path.strip_prefix(rule.as_str()).and_then(|rest| rest.strip_prefix('.'));
            if let Some(name) = name.filter(|name| !values.contains_key(*name)) {
                checker.refuse(join(&path, name), format!("missing, expected {}", field.constraint));
            }
        }
    }
}

/// Refuses an unknown name in the object at the path `object` of the field table.
fn refuse_name(object: &str, name: &str, path: &str, checker: &mut Checker) {
    if checker.is_full() {
        // The message would be discarded.
        return checker.refuse(path, "");
    }
    let suggestion = match nested(object, name) {
        Some(objects) => format!("; did you mean {objects}?"),
        None => did_you_mean(nearest(name, fields::names_in(object).into_iter())),
    };
    checker.refuse(path, format!("unknown parameter{suggestion}"));
}

/// Returns the objects that `name` abbreviates, if it is the path of a parameter.
fn nested(object: &str, name: &str) -> Option<String> {
    fields::field(&join(object, name)).filter(|_| !name.contains('['))?;
    Some(name.rsplit('.').fold("…".to_owned(), |value, name| format!("{{\"{name}\": {value}}}")))
}

/// Finds the most similar name.
pub(super) fn nearest(name: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // A name can be as long as the document; no parameter has such a long name.
    if 64 < name.len() {
        return None;
    }
    let likeness = |known: &'static str| (strsim::normalized_damerau_levenshtein(name, known), known);
    let best = names.map(likeness).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| MIN_SIMILARITY <= *likeness).map(|(_, known)| known)
}

/// Formats the suggestion, for the end of a message.
pub(super) fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

fn check_weights<T>(path: &str, values: &Weighted<T>, normalised: bool, checker: &mut Checker) {
    let total = values.total_weight();
    if normalised && !values.is_empty() && total == 0.0 {
        let message = format!("got weights that sum to {total}, expected more than 0 to normalise them");
        checker.refuse(path, message);
    }
}

fn check_chain(name: &str, chain: &ProcessingConfig, checker: &mut Checker) {
    let latent = name.starts_with("latent_");
    for (i, processor) in chain.processors.iter().enumerate() {
        let path = format!("{name}.processors[{i}]");
        if processor.kind.is_latent() != latent {
            let kind = if latent { "latents" } else { "images" };
            let message = format!("got {:?}, expected a processor of {kind}", processor.kind.name());
            checker.refuse(format!("{path}.type"), message);
        }
        check_settings(&format!("{path}.params"), processor.kind, &processor.params, checker);
    }
}

/// Checks the parameters of a processor; unknown ones get a notice.
fn check_settings(path: &str, processor: ProcessorName, settings: &Map<String, Value>, checker: &mut Checker) {
    let mut json = Checker::of_json();
    for (name, constraint) in processor.parameters() {
        if let Some(value) = settings.get(*name) {
            json.check(&join(path, name), constraint, value);
        }
    }
    // Nested values violate the constraint of the field itself.
    for violation in json.finish() {
        checker.refuse(violation.path, violation.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{CfgType, ControlNetConfig};

    type Params = StreamDiffusionParams;

    /// The violations of parameters as lines, after a change to the defaults.
    fn after(change: impl FnOnce(&mut Params)) -> Vec<String> {
        let mut params = Params::default();
        change(&mut params);
        params.violations().into_iter().map(|violation| violation.to_string()).collect()
    }

    #[test]
    fn the_defaults_are_valid() {
        assert!(Params::default().validate().is_ok());
    }

    #[test]
    fn all_violations_are_reported_together() {
        let broken = after(|params| {
            params.width = 513;
            params.delta = f64::NAN;
            params.guidance_scale = f64::INFINITY;
            params.t_index_list = vec![32, 50];
            params.seed = Weighted::Blend(vec![(1, 0.0), (2, 0.0)]);
        });
        assert_eq!(
            broken,
            [
                "guidance_scale: got a number that is not finite, expected a number from 0 to 100",
                "delta: got a number that is not finite, expected a number from 0 to 10",
                "width: got 513, expected an integer from 64 to 2048 in steps of 8",
                "t_index_list[1]: got 50, expected less than num_inference_steps (50)",
                "seed: got weights that sum to 0, expected more than 0 to normalise them",
            ]
        );
    }

    #[test]
    fn indices_may_repeat_but_not_decrease() {
        assert!(after(|params| params.t_index_list = vec![20, 20]).is_empty());
        let message = "t_index_list[1]: got 11, expected at least the index before it (12)";
        assert_eq!(after(|params| params.t_index_list = vec![12, 11]), [message]);
    }

    #[test]
    fn weights_that_sum_to_zero_are_valid_without_normalization() {
        let zero = Weighted::Blend(vec![("a".to_owned(), 0.0)]);
        assert!(
            after(|params| {
                params.prompt = zero;
                params.normalize_prompt_weights = false;
            })
            .is_empty()
        );
    }

    #[test]
    fn controlnets_must_match_known_models() {
        let depth = "lllyasviel/control_v11f1p_sd15_depth";
        let misfit = after(|params| params.controlnets = vec![ControlNetConfig::new(depth)]);
        assert_eq!(misfit.len(), 1);
        assert!(misfit[0].contains("for Stable Diffusion 1.5, expected one for \"stabilityai/sd-turbo\""));
        for (model, net) in [("a/b", depth), ("stabilityai/sd-turbo", "./my-net")] {
            assert!(
                after(|params| {
                    params.model_id = model.into();
                    params.controlnets = vec![ControlNetConfig::new(net)];
                })
                .is_empty()
            );
        }
    }

    #[test]
    fn sdxl_supports_three_controlnets_at_a_time() {
        let nets = |enabled: usize| {
            let net = |i| ControlNetConfig { enabled: i < enabled, ..ControlNetConfig::new(format!("net-{i}")) };
            (0..4).map(net).collect::<Vec<_>>()
        };
        let with = |enabled| {
            after(|params| {
                params.model_id = "stabilityai/sdxl-turbo".into();
                params.controlnets = nets(enabled);
            })
        };
        assert!(with(3).is_empty());
        assert_eq!(with(4), ["controlnets: got 4 enabled, expected at most 3 with SDXL"]);
    }

    #[test]
    fn img2img_turbo_has_one_step_and_no_guidance() {
        let with = |list: &[u32], cfg_type, guidance_scale| {
            after(|params| {
                params.img2img_turbo.weights = Some("edge_to_image_loras.pkl".into());
                (params.t_index_list, params.cfg_type, params.guidance_scale) =
                    (list.to_vec(), cfg_type, guidance_scale);
            })
        };
        assert!(with(&[0], CfgType::SelfNegative, 1.0).is_empty() && with(&[0], CfgType::None, 2.0).is_empty());
        assert_eq!(
            with(&[0, 12], CfgType::Full, 1.5),
            [
                "t_index_list: got 2 indices, expected 1 with img2img_turbo.weights",
                "guidance_scale: got 1.5, expected at most 1 with img2img_turbo.weights, or cfg_type \"none\"",
            ]
        );
        assert_eq!(after(|params| params.img2img_turbo.weights = Some(String::new())).len(), 2);
        let strength = after(|params| params.img2img_turbo.strength = 1.5);
        assert_eq!(strength, ["img2img_turbo.strength: got 1.5, expected a number from 0 to 1"]);
    }

    #[test]
    fn style_images_are_urls_or_base64() {
        let with = |url: &str| after(|params| params.ip_adapter_style_image_url = url.into());
        for url in ["", "https://a/b.png", "HTTP://a", "data:image/png;base64,AAAA", "iVBORw0KGgo="] {
            assert!(with(url).is_empty(), "{url}");
        }
        assert_eq!(with("file:///etc/passwd").len(), 1);
    }

    #[test]
    fn similar_names_are_suggested_and_others_are_not() {
        assert_eq!(nearest("promt", fields::names_in("").into_iter()), Some("prompt"));
        assert_eq!(nearest("guidence_scale", fields::names_in("").into_iter()), Some("guidance_scale"));
        assert_eq!(nearest("xyzzy", fields::names_in("").into_iter()), None);
    }
}

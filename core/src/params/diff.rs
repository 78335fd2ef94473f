//! The differences between two sets of parameters, and their cost.

use serde::Serialize;
use serde_json::Value;

use super::StreamDiffusionParams;
use super::fields::{Cost, CostRule, FIELDS, Field, fields_of};
use super::processing::ProcessingConfig;
use super::processor::ProcessorName;
use super::values::{Access, FieldAccess, Item};

/// One difference between two sets of parameters.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The path, such as `controlnets[1].conditioning_scale`, with indices of the new list; for an item that was
    /// removed, of the old list.
    pub path: String,
    /// The cost of this change.
    pub cost: Cost,
    /// The value before; `None` for an item that was added.
    pub old: Option<Value>,
    /// The value after; `None` for an item that was removed.
    pub new: Option<Value>,
}

/// Lists the differences between `old` and `new`, in the order of the field table. The list is empty if and only if
/// they are equal.
///
/// ControlNets are matched by their `model_id`, processors by their position in the chain.
///
/// ```
/// use dreamframe::params::{Cost, StreamDiffusionParams, diff, total_cost};
///
/// let old = StreamDiffusionParams::demo();
/// let new = StreamDiffusionParams { prompt: "snow".into(), delta: 0.9, ..old.clone() };
/// let changes = diff(&old, &new);
/// let costs: Vec<_> = changes.iter().map(|change| (&*change.path, change.cost)).collect();
/// assert_eq!(costs, [("prompt", Cost::Recompute), ("delta", Cost::Hot)]);
/// assert_eq!(total_cost(&changes), Some(Cost::Recompute));
/// ```
pub fn diff(old: &StreamDiffusionParams, new: &StreamDiffusionParams) -> Vec<Change> {
    let mut changes = Vec::new();
    for field in FIELDS {
        match field.access {
            Access::Value(access) => {
                changes.extend(change(field, access, field.path, [old, new], || rule_cost(field, [old, new])));
            }
            Access::Named(access) => {
                changes.extend(change(field, access, field.path, [old, new], || None));
            }
            Access::ControlNets(list) => diff_items(field, (list.get)(old), (list.get)(new), &mut changes),
            Access::Processors(list) => diff_items(field, (list.get)(old), (list.get)(new), &mut changes),
            // Compared with their list.
            Access::ControlNet(_) | Access::Processor(_) => {}
        }
    }
    changes
}

/// Like [`diff`], for an engine with live branches of LoRAs: a change of nothing but the scales of LoRAs for which
/// `is_live` returns true costs [`Cost::Recompute`].
pub(crate) fn diff_with_live_loras(
    old: &StreamDiffusionParams,
    new: &StreamDiffusionParams,
    is_live: impl Fn(&str) -> bool,
) -> Vec<Change> {
    let mut changes = diff(old, new);
    let (old, new) = (&old.lora_dict, &new.lora_dict);
    let same_loras = old.keys().eq(new.keys());
    if same_loras && old.iter().all(|(id, scale)| new.get(id) == Some(scale) || is_live(id)) {
        let of_loras = changes.iter_mut().filter(|change| change.path == "lora_dict");
        of_loras.for_each(|change| change.cost = Cost::Recompute);
    }
    changes
}

/// Returns the cost of several changes together, which is the highest of theirs; `None` without changes.
pub fn total_cost(changes: &[Change]) -> Option<Cost> {
    changes.iter().map(|change| change.cost).max()
}

/// Returns the change of one field of the objects before and after, if there is one; `rule` returns its cost if that is
/// higher than the row's.
fn change<S>(
    field: &Field,
    access: &dyn FieldAccess<S>,
    path: impl Into<String>,
    [old, new]: [&S; 2],
    rule: impl FnOnce() -> Option<Cost>,
) -> Option<Change> {
    (!access.is_same(old, new)).then(|| Change {
        path: path.into(),
        cost: rule().unwrap_or(field.cost),
        old: Some(access.to_json(old)),
        new: Some(access.to_json(new)),
    })
}

/// Returns the cost of a field of the parameters where it is higher than the row's.
fn rule_cost(field: &Field, sides: [&StreamDiffusionParams; 2]) -> Option<Cost> {
    match field.cost_rule? {
        CostRule::NegativeRows => {
            let [old, new] = sides.map(|side| side.uses_negative_prompt().then_some(side.cfg_type));
            (old != new).then_some(Cost::Recompute)
        }
        CostRule::FeatureInjection => {
            let [old, new] = sides.map(|side| side.cached_attention.feature_injection_strength > 0.0);
            (old != new).then_some(Cost::Load)
        }
        CostRule::FeatureReuse => {
            let [old, new] = sides.map(|side| side.reuses_features());
            (old != new).then_some(Cost::Load)
        }
        CostRule::NegativePromptUsed => sides.iter().any(|side| side.uses_negative_prompt()).then_some(Cost::Recompute),
        CostRule::ProcessorWithWeights => {
            let has_weights = |chain: &ProcessingConfig| chain.processors.iter().any(has_weights);
            let chains = sides.iter().flat_map(|side| side.chains());
            let mut own = chains.filter(|(name, _)| field.path.starts_with(name));
            own.any(|(_, chain)| has_weights(chain)).then_some(Cost::Load)
        }
    }
}

/// Returns true if the item runs a processor that is a network.
fn has_weights<I: Item>(item: &I) -> bool {
    item.processor().is_some_and(ProcessorName::has_weights)
}

/// Returns the cost of a change of items where it is higher than the row's.
fn rule_item_cost<I: Item>(field: &Field, sides: &[&I]) -> Option<Cost> {
    let is_network =
        field.cost_rule == Some(CostRule::ProcessorWithWeights) && sides.iter().any(|item| has_weights(*item));
    is_network.then_some(Cost::Load)
}

/// Compares two lists: added and removed items, the fields of the others, and their order.
fn diff_items<I: Item>(list: &Field, old: &[I], new: &[I], out: &mut Vec<Change>) {
    if old == new {
        return;
    }
    let whole = |i: usize, item: &I| {
        let cost = rule_item_cost(list, &[item]).unwrap_or(list.cost);
        (format!("{}[{i}]", list.path), cost, Some(item.to_json()))
    };
    let (old_names, new_names) = (item_names(old), item_names(new));
    for (i, (item, name)) in old.iter().zip(&old_names).enumerate() {
        if !new_names.contains(name) {
            let (path, cost, old) = whole(i, item);
            out.push(Change { path, cost, old, new: None });
        }
    }
    for (i, (item, name)) in new.iter().zip(&new_names).enumerate() {
        match old_names.iter().zip(old).find(|(before, _)| *before == name) {
            Some((_, before)) => {
                for (field, name, access) in fields_of::<I>(list) {
                    let path = format!("{}[{i}].{name}", list.path);
                    let rule = || rule_item_cost(field, &[before, item]);
                    out.extend(change(field, access, path, [before, item], rule));
                }
            }
            None => {
                let (path, cost, new) = whole(i, item);
                out.push(Change { path, cost, old: None, new });
            }
        }
    }
    let stayed = |names: &[Name<'_>], others: &[Name<'_>]| -> Vec<Value> {
        let stayed = names.iter().filter(|name| others.contains(name));
        stayed.map(|(key, _)| key.map_or(Value::Null, Value::from)).collect()
    };
    let (before, after) = (stayed(&old_names, &new_names), stayed(&new_names, &old_names));
    if before != after {
        // The order affects only the rounding of the sum of residuals.
        let (old, new) = (Some(before.into()), Some(after.into()));
        out.push(Change { path: list.path.to_owned(), cost: Cost::Hot, old, new });
    }
}

/// The identity of an item: its key, if it has one, and the number of items with the same key before it.
type Name<'a> = (Option<&'a str>, usize);

fn item_names<I: Item>(items: &[I]) -> Vec<Name<'_>> {
    let mut names: Vec<Name<'_>> = Vec::with_capacity(items.len());
    for item in items {
        let key = item.key();
        let before = names.iter().filter(|(other, _)| *other == key).count();
        names.push((key, before));
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::params::{CfgType, ControlNetConfig, SingleProcessorConfig};

    type Params = StreamDiffusionParams;

    /// The changes from `base` that `edit` makes, as (path, cost).
    fn changes(base: &Params, edit: impl FnOnce(&mut Params)) -> Vec<(String, Cost)> {
        let mut new = base.clone();
        edit(&mut new);
        diff(base, &new).into_iter().map(|change| (change.path, change.cost)).collect()
    }

    fn one(path: &str, cost: Cost) -> Vec<(String, Cost)> {
        vec![(path.to_owned(), cost)]
    }

    #[test]
    fn equal_parameters_have_no_differences() {
        assert_eq!(diff(&Params::daydream(), &Params::daydream()), []);
        assert_eq!(total_cost(&[]), None);
    }

    #[test]
    fn the_cost_of_several_changes_is_the_highest() {
        let new = Params { delta: 0.5, width: 640, prompt: "a".into(), ..Params::default() };
        let changes = diff(&Params::default(), &new);
        let costs: Vec<_> = changes.iter().map(|change| change.cost).collect();
        assert_eq!(costs, [Cost::Recompute, Cost::Hot, Cost::Rebuild]);
        assert_eq!(total_cost(&changes), Some(Cost::Rebuild));
        assert_eq!((&changes[1].old, &changes[1].new), (&Some(0.7.into()), &Some(0.5.into())));
    }

    #[test]
    fn guidance_is_hot_until_the_negative_prompt_runs_in_other_rows() {
        let at = |(cfg_type, guidance_scale)| Params { cfg_type, guidance_scale, ..Params::default() };
        let cost = |from, to| total_cost(&diff(&at(from), &at(to)));
        let (own, full, initialize) = (CfgType::SelfNegative, CfgType::Full, CfgType::Initialize);
        for cfg_type in CfgType::ALL.iter().copied() {
            assert_eq!(cost((cfg_type, 1.2), (cfg_type, 1.4)), Some(Cost::Hot), "{cfg_type}");
            assert_eq!(cost((cfg_type, 0.5), (cfg_type, 1.0)), Some(Cost::Hot), "{cfg_type}");
        }
        assert_eq!(cost((own, 1.0), (own, 1.4)), Some(Cost::Hot));
        assert_eq!(cost((CfgType::None, 1.4), (own, 1.4)), Some(Cost::Hot));
        assert_eq!(cost((full, 1.0), (own, 1.0)), Some(Cost::Hot));
        for cfg_type in [full, initialize] {
            assert_eq!(cost((cfg_type, 1.0), (cfg_type, 1.4)), Some(Cost::Recompute), "{cfg_type}");
            assert_eq!(cost((cfg_type, 1.4), (cfg_type, 1.0)), Some(Cost::Recompute), "{cfg_type}");
            assert_eq!(cost((own, 1.4), (cfg_type, 1.4)), Some(Cost::Recompute), "{cfg_type}");
        }
        assert_eq!(cost((full, 1.4), (initialize, 1.4)), Some(Cost::Recompute));
    }

    #[test]
    fn a_negative_prompt_without_effect_is_hot() {
        let cost = |cfg_type, guidance_scale| {
            let base = Params { cfg_type, guidance_scale, ..Params::default() };
            total_cost(&diff(&base, &Params { negative_prompt: "fog".into(), ..base.clone() }))
        };
        assert_eq!(cost(CfgType::SelfNegative, 1.4), Some(Cost::Hot));
        assert_eq!(cost(CfgType::Full, 1.0), Some(Cost::Hot));
        assert_eq!(cost(CfgType::Full, 1.4), Some(Cost::Recompute));
    }

    #[test]
    fn controlnets_are_matched_by_id() {
        let base = Params::daydream();
        let scale = changes(&base, |params| params.controlnets[3].conditioning_scale = 0.0);
        assert_eq!(scale, one("controlnets[3].conditioning_scale", Cost::Hot));
        let removed = changes(&base, |params| drop(params.controlnets.remove(1)));
        assert_eq!(removed, one("controlnets[1]", Cost::Load));
        let added = changes(&base, |params| params.controlnets.insert(0, ControlNetConfig::new("a/b")));
        assert_eq!(added, one("controlnets[0]", Cost::Load));
        assert_eq!(changes(&base, |params| params.controlnets.swap(0, 1)), one("controlnets", Cost::Hot));
    }

    #[test]
    fn a_moved_controlnet_still_shows_its_new_scale() {
        let base = Params::daydream();
        let moved = changes(&base, |params| {
            params.controlnets.swap(0, 4);
            params.controlnets[0].conditioning_scale = 0.9;
        });
        let expected = [one("controlnets[0].conditioning_scale", Cost::Hot), one("controlnets", Cost::Hot)].concat();
        assert_eq!(moved, expected);
    }

    #[test]
    fn parameters_of_processors_cost_a_load_only_with_weights() {
        let base = Params::daydream();
        let set = |i: usize| {
            changes(&base, |params| {
                params.controlnets[i].preprocessor_params.insert("image_width".into(), 64.into());
            })
        };
        assert_eq!(set(2), one("controlnets[2].preprocessor_params", Cost::Hot));
        assert_eq!(set(3), one("controlnets[3].preprocessor_params", Cost::Load));
    }

    #[test]
    fn processors_are_matched_by_position() {
        let processor = |kind| SingleProcessorConfig { kind, enabled: true, params: Map::new() };
        let mut base = Params::default();
        base.image_preprocessing.processors = vec![processor(ProcessorName::Blur)];
        let path = "image_preprocessing.processors";
        let kind = |kind| changes(&base, |params| params.image_preprocessing.processors[0].kind = kind);
        assert_eq!(kind(ProcessorName::Sharpen), one(&format!("{path}[0].type"), Cost::Hot));
        assert_eq!(kind(ProcessorName::Depth), one(&format!("{path}[0].type"), Cost::Load));
        let pushed = changes(&base, |params| {
            params.image_preprocessing.processors.push(processor(ProcessorName::Hed));
        });
        assert_eq!(pushed, one(&format!("{path}[1]"), Cost::Load));
        let off = changes(&base, |params| params.image_preprocessing.enabled = false);
        assert_eq!(off, one("image_preprocessing.enabled", Cost::Hot));
    }

    #[test]
    fn lists_with_one_id_twice_are_still_compared() {
        let base = Params { controlnets: vec![ControlNetConfig::new("a"); 2], ..Params::default() };
        let removed = changes(&base, |params| drop(params.controlnets.pop()));
        assert_eq!(removed, one("controlnets[1]", Cost::Load));
    }
}

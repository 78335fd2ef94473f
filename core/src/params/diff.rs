//! What differs between two sets of parameters, and what the change costs.

use serde::Serialize;
use serde_json::Value;

use super::StreamDiffusionParams;
use super::allowed::Allowed;
use super::fields::{Cost, Dearer, FIELDS, Field, join};
use super::processor::ProcessorName;

/// One difference between two sets of parameters.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// Where: a path such as `controlnets[1].conditioning_scale`, with places of the new list (of the old one for what
    /// went away).
    pub path: String,
    /// What this change costs.
    pub cost: Cost,
    /// The value before; `None` for an item that came in.
    pub old: Option<Value>,
    /// The value after; `None` for an item that went away.
    pub new: Option<Value>,
}

/// Lists what differs between `old` and `new`, in the order of the field table; empty exactly where they are equal.
///
/// ControlNets are compared by their `model_id`, processors by their place in the chain.
pub fn diff(old: &StreamDiffusionParams, new: &StreamDiffusionParams) -> Vec<Change> {
    let (old, new) = (old.to_value(), new.to_value());
    let mut changes = Vec::new();
    for field in FIELDS.iter().filter(|field| !field.path.contains("[]")) {
        let (parent, name) = field.path.rsplit_once('.').unwrap_or(("", field.path));
        let (old, new) = (object(&old, parent), object(&new, parent));
        match (field.allowed, &old[name], &new[name]) {
            (Allowed::Items { key, .. }, Value::Array(old), Value::Array(new)) => {
                diff_items(field, key, old, new, &mut changes);
            }
            _ => changes.extend(change(field, field.path.to_owned(), name, old, new)),
        }
    }
    changes
}

/// Returns the cost of several changes together, which is the highest of theirs; `None` without changes.
pub fn total_cost(changes: &[Change]) -> Option<Cost> {
    changes.iter().map(|change| change.cost).max()
}

/// The object at `path`, one name deep at most.
fn object<'a>(root: &'a Value, path: &str) -> &'a Value {
    if path.is_empty() { root } else { &root[path] }
}

/// The change of one field, if there is one; `old` and `new` are the objects that it is part of.
fn change(field: &Field, path: String, name: &str, old: &Value, new: &Value) -> Option<Change> {
    let cost = field.dearer.and_then(|when| dearer_cost(when, name, [old, new])).unwrap_or(field.cost);
    let (old, new) = (&old[name], &new[name]);
    (old != new).then(|| Change { path, cost, old: Some(old.clone()), new: Some(new.clone()) })
}

/// The cost where a field costs more than its row says; `sides` are the objects before and after.
fn dearer_cost(when: Dearer, name: &str, sides: [&Value; 2]) -> Option<Cost> {
    match when {
        Dearer::CrossingOne => {
            let [old, new] = sides.map(|side| side[name].as_f64().is_some_and(|value| 1.0 < value));
            (old != new).then_some(Cost::Recompute)
        }
        Dearer::ProcessorWithWeights => sides.iter().any(|side| has_weights(side)).then_some(Cost::Load),
    }
}

/// Returns whether a ControlNet, a processor or any processor of a chain is a network.
fn has_weights(object: &Value) -> bool {
    let name = ["preprocessor", "type"].iter().find_map(|name| object.get(name)?.as_str());
    let known = name.and_then(|name| ProcessorName::ALL.iter().find(|known| known.name() == name));
    let chain = object.get("processors").and_then(Value::as_array);
    known.is_some_and(|known| known.has_weights()) || chain.is_some_and(|chain| chain.iter().any(has_weights))
}

/// Compares two lists, item by item: items that came and went, fields of those that stayed, and their order.
fn diff_items(list: &Field, key: Option<&str>, old: &[Value], new: &[Value], out: &mut Vec<Change>) {
    let (old_names, new_names) = (item_names(key, old), item_names(key, new));
    for (i, (item, name)) in old.iter().zip(&old_names).enumerate() {
        if !new_names.contains(name) {
            let path = format!("{}[{i}]", list.path);
            out.push(Change { path, cost: item_cost(list, item), old: Some(item.clone()), new: None });
        }
    }
    for (i, (item, name)) in new.iter().zip(&new_names).enumerate() {
        let path = format!("{}[{i}]", list.path);
        match old_names.iter().zip(old).find(|(before, _)| *before == name) {
            Some((_, before)) => diff_fields(list, &path, before, item, out),
            None => out.push(Change { path, cost: item_cost(list, item), old: None, new: Some(item.clone()) }),
        }
    }
    let stayed = |names: &[Name], others: &[Name]| -> Vec<Name> {
        names.iter().filter(|name| others.contains(name)).cloned().collect()
    };
    let (before, after) = (stayed(&old_names, &new_names), stayed(&new_names, &old_names));
    if before != after {
        let ids = |names: Vec<Name>| Some(names.into_iter().map(|name| name.0).collect());
        // Their sum is the same in another order, but for rounding.
        out.push(Change { path: list.path.to_owned(), cost: Cost::Hot, old: ids(before), new: ids(after) });
    }
}

/// By what an item is told apart: its key (or nothing), and how many with the same key came before it.
type Name = (Value, usize);

fn item_names(key: Option<&str>, items: &[Value]) -> Vec<Name> {
    let mut names: Vec<Name> = Vec::with_capacity(items.len());
    for item in items {
        let key = key.map_or(Value::Null, |key| item[key].clone());
        let before = names.iter().filter(|(other, _)| *other == key).count();
        names.push((key, before));
    }
    names
}

fn item_cost(list: &Field, item: &Value) -> Cost {
    list.dearer.and_then(|when| dearer_cost(when, "", [item, item])).unwrap_or(list.cost)
}

fn diff_fields(list: &Field, path: &str, old: &Value, new: &Value, out: &mut Vec<Change>) {
    for field in FIELDS {
        let name = field.path.strip_prefix(list.path).and_then(|rest| rest.strip_prefix("[]."));
        out.extend(name.and_then(|name| change(field, join(path, name), name, old, new)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::params::{ControlNetConfig, SingleProcessorConfig};

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
    fn equal_parameters_differ_in_nothing() {
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
    fn guidance_is_hot_until_it_crosses_one() {
        let at = |guidance_scale| Params { guidance_scale, ..Params::default() };
        let cost = |from, to| total_cost(&diff(&at(from), &at(to)));
        assert_eq!(cost(1.2, 1.4), Some(Cost::Hot));
        assert_eq!(cost(0.5, 1.0), Some(Cost::Hot));
        assert_eq!(cost(1.0, 1.4), Some(Cost::Recompute));
        assert_eq!(cost(1.4, 1.0), Some(Cost::Recompute));
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
    fn processors_are_matched_by_place() {
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

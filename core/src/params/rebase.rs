//! Three-way merge of parameters: applies a change to parameters that have changed since.
//!
//! Parameters are a set of *places*, each changed or not. A place is the path of a field; in a list of items with a
//! key, it has the key instead of the index (`controlnets[a/b].conditioning_scale`), so that reordering the list does
//! not change it; the order is a place of its own (`controlnets.order`).

use std::collections::{BTreeMap, BTreeSet};

use super::StreamDiffusionParams;
use super::constraint::Constraint;
use super::fields::{FIELDS, Field, fields_of};
use super::values::{Access, Item};

/// The result of [`rebase`].
#[derive(Debug, Clone, PartialEq)]
pub struct Rebased {
    /// The merged parameters; rules between fields have not been checked.
    pub params: StreamDiffusionParams,
    /// Whether the whole change was applied; false if it concerns an item that no longer exists, or whose type has
    /// changed.
    pub complete: bool,
}

/// Applies the changes from `base` to `ours` to `theirs`, field by field.
///
/// ControlNets are matched by their `model_id` and LoRAs by their name, each with its own fields; processors by their
/// position in the chain, unless processors were added or removed. If both changed the same field, `ours` wins.
///
/// ```
/// use dreamframe::params::{StreamDiffusionParams, rebase};
///
/// let base = StreamDiffusionParams::demo();
/// let ours = StreamDiffusionParams { delta: 0.9, ..base.clone() };
/// let theirs = StreamDiffusionParams { delta: 0.1, prompt: "snow".into(), ..base.clone() };
/// let rebased = rebase(&base, &ours, &theirs);
/// assert_eq!((rebased.params.delta, rebased.params.prompt), (0.9, "snow".into()));
/// ```
pub fn rebase(base: &StreamDiffusionParams, ours: &StreamDiffusionParams, theirs: &StreamDiffusionParams) -> Rebased {
    rebase_where(base, ours, theirs, |_| true)
}

/// Like [`rebase`], for places for which `counts` returns true.
pub(crate) fn rebase_where(
    base: &StreamDiffusionParams,
    ours: &StreamDiffusionParams,
    theirs: &StreamDiffusionParams,
    counts: impl Fn(&str) -> bool,
) -> Rebased {
    let mut params = theirs.clone();
    let mut merge = Merge { counts: &counts, touched: BTreeSet::new(), complete: true };
    merge.fields(base, ours, &mut params);
    Rebased { params, complete: merge.complete }
}

/// Lists the places that differ between `base` and `ours`.
pub(crate) fn touched(base: &StreamDiffusionParams, ours: &StreamDiffusionParams) -> BTreeSet<String> {
    let mut merge = Merge { counts: &|_| false, touched: BTreeSet::new(), complete: true };
    merge.fields(base, ours, &mut base.clone());
    merge.touched
}

/// Returns true if `place` is `outer` or inside it: a field of an item, an item of a list.
pub(crate) fn covers(outer: &str, place: &str) -> bool {
    place.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Returns true if a change of `place` needs an earlier change of `outer`: `place` is inside it, or is the order of a list
/// of which it is an item.
pub(crate) fn depends(place: &str, outer: &str) -> bool {
    let is_item_of =
        |list: &str| outer.ends_with(']') && outer.strip_prefix(list).is_some_and(|at| at.starts_with('['));
    (place != outer && covers(outer, place)) || place.strip_suffix(ORDER).is_some_and(is_item_of)
}

/// The end of the place of a list's order.
const ORDER: &str = ".order";

struct Merge<'a> {
    counts: &'a dyn Fn(&str) -> bool,
    touched: BTreeSet<String>,
    complete: bool,
}

impl Merge<'_> {
    /// Records a change, and returns true if it counts.
    fn take(&mut self, place: String) -> bool {
        let counts = (self.counts)(&place);
        self.touched.insert(place);
        counts
    }

    fn fields(
        &mut self,
        base: &StreamDiffusionParams,
        ours: &StreamDiffusionParams,
        theirs: &mut StreamDiffusionParams,
    ) {
        for field in FIELDS {
            match field.access {
                Access::Value(access) => {
                    if !access.is_same(base, ours) && self.take(field.path.to_owned()) {
                        access.copy(ours, theirs);
                    }
                }
                Access::Named(map) => self.named(field, (map.get)(base), (map.get)(ours), (map.get_mut)(theirs)),
                Access::ControlNets(list) => {
                    self.list(field, (list.get)(base), (list.get)(ours), (list.get_mut)(theirs));
                }
                Access::Processors(list) => {
                    self.list(field, (list.get)(base), (list.get)(ours), (list.get_mut)(theirs));
                }
                // Merged with their list.
                Access::ControlNet(_) | Access::Processor(_) => {}
            }
        }
    }

    fn list<I: Item>(&mut self, list: &Field, base: &[I], ours: &[I], theirs: &mut Vec<I>) {
        if base == ours {
            return;
        }
        if let Constraint::Items { key: Some(_), .. } = list.constraint {
            self.keyed(list, base, ours, theirs);
        } else {
            self.placed(list, base, ours, theirs);
        }
    }

    /// Merges a list whose items have keys: added and removed items, the fields of the others, their order.
    fn keyed<I: Item>(&mut self, list: &Field, base: &[I], ours: &[I], theirs: &mut Vec<I>) {
        for item in base.iter().filter(|item| find(ours, item.key()).is_none()) {
            if self.take(item_place(list, item)) {
                theirs.retain(|their| their.key() != item.key());
            }
        }
        let mut before = None;
        for item in ours {
            let place = item_place(list, item);
            let at = find(theirs, item.key());
            match (find(base, item.key()).and_then(|at| base.get(at)), at) {
                (Some(old), at) => {
                    let their = at.and_then(|at| theirs.get_mut(at));
                    self.item(list, &place, [old, item], their);
                }
                (None, at) if self.take(place) => match at.and_then(|at| theirs.get_mut(at)) {
                    Some(their) => *their = item.clone(),
                    None => theirs.insert(after(theirs, before), item.clone()),
                },
                (None, _) => {}
            }
            before = Some(item);
        }
        if !common_keys(base, ours).eq(common_keys(ours, base)) && self.take(format!("{}{ORDER}", list.path)) {
            reorder(ours, theirs);
        }
    }

    /// Merges a list whose items are identified by their position.
    fn placed<I: Item>(&mut self, list: &Field, base: &[I], ours: &[I], theirs: &mut Vec<I>) {
        if base.len() != ours.len() {
            if self.take(list.path.to_owned()) {
                *theirs = ours.to_vec();
            }
            return;
        }
        let same_length = theirs.len() == base.len();
        for (at, (base, ours)) in base.iter().zip(ours).enumerate() {
            let place = format!("{}[{at}]", list.path);
            self.item(list, &place, [base, ours], theirs.get_mut(at).filter(|_| same_length));
        }
    }

    /// Merges the fields of one item that both sides have.
    fn item<I: Item>(&mut self, list: &Field, place: &str, [base, ours]: [&I; 2], mut theirs: Option<&mut I>) {
        let other_type = theirs.as_ref().is_some_and(|theirs| theirs.processor() != base.processor());
        let retyped = base.processor() == ours.processor() && other_type;
        for (_, name, access) in fields_of::<I>(list) {
            if access.is_same(base, ours) || !self.take(format!("{place}.{name}")) {
                continue;
            }
            // The settings of a processor have a different meaning, or none, for another type.
            match theirs.as_deref_mut().filter(|_| !(retyped && name.ends_with("params"))) {
                Some(theirs) => access.copy(ours, theirs),
                None => self.complete = false,
            }
        }
    }

    /// Merges a map of names to numbers.
    fn named(
        &mut self,
        field: &Field,
        base: &BTreeMap<String, f64>,
        ours: &BTreeMap<String, f64>,
        theirs: &mut BTreeMap<String, f64>,
    ) {
        for name in base.keys().filter(|name| !ours.contains_key(*name)) {
            if self.take(format!("{}[{name}]", field.path)) {
                theirs.remove(name);
            }
        }
        for (name, &value) in ours.iter().filter(|(name, value)| base.get(*name) != Some(*value)) {
            if !self.take(format!("{}[{name}]", field.path)) {
                continue;
            }
            if base.contains_key(name) && !theirs.contains_key(name) {
                self.complete = false;
            } else {
                theirs.insert(name.clone(), value);
            }
        }
    }
}

fn item_place<I: Item>(list: &Field, item: &I) -> String {
    format!("{}[{}]", list.path, item.key().unwrap_or_default())
}

fn find<I: Item>(items: &[I], key: Option<&str>) -> Option<usize> {
    items.iter().position(|item| item.key() == key)
}

/// Returns the keys of those items of `one` that `other` has too, in the order of `one`.
fn common_keys<'a, I: Item>(one: &'a [I], other: &'a [I]) -> impl Iterator<Item = Option<&'a str>> {
    one.iter().map(Item::key).filter(|key| find(other, *key).is_some())
}

/// Returns the position after the item `before`, or the first one without it.
fn after<I: Item>(items: &[I], before: Option<&I>) -> usize {
    before.and_then(|item| find(items, item.key())).map_or(0, |at| at + 1)
}

/// Sorts `theirs` in the order of `ours`; items that `ours` lacks stay after the item that they followed.
fn reorder<I: Item>(ours: &[I], theirs: &mut Vec<I>) {
    let old = std::mem::take(theirs);
    theirs.extend(ours.iter().filter_map(|item| old.get(find(&old, item.key())?).cloned()));
    let mut before = None;
    for item in &old {
        if find(theirs, item.key()).is_none() {
            theirs.insert(after(theirs, before), item.clone());
        }
        before = Some(item);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::params::{ControlNetConfig, ProcessorName, SingleProcessorConfig};

    type Params = StreamDiffusionParams;

    fn nets(names: &[(&str, f64)]) -> Params {
        let net = |&(name, conditioning_scale): &(&str, f64)| ControlNetConfig {
            conditioning_scale,
            ..ControlNetConfig::new(name)
        };
        Params { controlnets: names.iter().map(net).collect(), ..Params::default() }
    }

    fn merged(base: &[(&str, f64)], ours: &[(&str, f64)], theirs: &[(&str, f64)]) -> (Vec<(String, f64)>, bool) {
        let rebased = rebase(&nets(base), &nets(ours), &nets(theirs));
        let nets = rebased.params.controlnets.into_iter().map(|net| (net.model_id, net.conditioning_scale)).collect();
        (nets, rebased.complete)
    }

    fn list(names: &[(&str, f64)]) -> Vec<(String, f64)> {
        names.iter().map(|&(name, scale)| (name.to_owned(), scale)).collect()
    }

    #[test]
    fn a_scale_is_applied_to_its_network_at_another_position() {
        let (base, ours) = ([("a", 1.0), ("b", 1.0)], [("a", 1.0), ("b", 0.5)]);
        assert_eq!(merged(&base, &ours, &[("b", 1.0), ("c", 1.0)]), (list(&[("b", 0.5), ("c", 1.0)]), true));
    }

    #[test]
    fn a_change_of_a_net_that_does_not_exist_is_incomplete() {
        let (base, ours) = ([("a", 1.0), ("b", 1.0)], [("a", 0.2), ("b", 0.5)]);
        assert_eq!(merged(&base, &ours, &[("a", 1.0)]), (list(&[("a", 0.2)]), false));
    }

    #[test]
    fn networks_are_added_and_removed_together_with_other_changes() {
        let (base, theirs) = ([("a", 1.0), ("b", 1.0)], [("a", 0.3), ("b", 1.0), ("d", 1.0)]);
        let ours = [("a", 1.0), ("c", 1.0)];
        assert_eq!(merged(&base, &ours, &theirs), (list(&[("a", 0.3), ("c", 1.0), ("d", 1.0)]), true));
        // Removed on both sides.
        assert_eq!(merged(&base, &[("a", 1.0)], &[("a", 0.3)]), (list(&[("a", 0.3)]), true));
    }

    #[test]
    fn reordering_is_a_separate_change() {
        let (base, ours) = ([("a", 1.0), ("b", 1.0)], [("b", 1.0), ("a", 1.0)]);
        let theirs = [("a", 0.1), ("x", 1.0), ("b", 1.0)];
        assert_eq!(merged(&base, &ours, &theirs), (list(&[("b", 1.0), ("a", 0.1), ("x", 1.0)]), true));
        assert_eq!(touched(&nets(&base), &nets(&ours)), BTreeSet::from(["controlnets.order".to_owned()]));
    }

    #[test]
    fn settings_of_a_processor_apply_to_its_type_only() {
        let with = |kind: ProcessorName, radius: u32| {
            let params = Map::from_iter([("radius".to_owned(), radius.into())]);
            let mut base = Params::default();
            base.image_preprocessing.processors = vec![SingleProcessorConfig { kind, enabled: true, params }];
            base
        };
        let (base, ours) = (with(ProcessorName::Blur, 1), with(ProcessorName::Blur, 2));
        assert!(rebase(&base, &ours, &with(ProcessorName::Blur, 7)).complete);
        assert!(!rebase(&base, &ours, &with(ProcessorName::Hed, 7)).complete);
        assert!(!rebase(&base, &ours, &Params::default()).complete);
    }

    #[test]
    fn loras_are_merged_by_name() {
        let with = |loras: &[(&str, f64)]| Params {
            lora_dict: loras.iter().map(|&(name, scale)| (name.to_owned(), scale)).collect(),
            ..Params::default()
        };
        let rebased = rebase(&with(&[("a", 1.0)]), &with(&[("a", 0.5)]), &with(&[("a", 1.0), ("b", 1.0)]));
        assert_eq!(rebased, Rebased { params: with(&[("a", 0.5), ("b", 1.0)]), complete: true });
        let removed = rebase(&with(&[("a", 1.0)]), &with(&[]), &with(&[("a", 1.0)]));
        assert_eq!(removed.params, Params::default());
        assert!(!rebase(&with(&[("a", 1.0)]), &with(&[("a", 0.5)]), &with(&[])).complete);
    }

    #[test]
    fn optional_plane_is_not_changed() {
        let ours = Params { delta: 0.1, guidance_scale: 1.5, ..Params::default() };
        let theirs = Params { delta: 0.9, ..Params::default() };
        let rebased = rebase_where(&Params::default(), &ours, &theirs, |place| place != "delta");
        assert_eq!(rebased.params, Params { guidance_scale: 1.5, ..theirs });
    }

    #[test]
    fn a_list_covers_its_items_and_an_item_its_fields() {
        assert!(covers("controlnets", "controlnets[a].enabled") && covers("controlnets[a]", "controlnets[a].enabled"));
        assert!(covers("delta", "delta"));
        assert!(!covers("controlnets.order", "controlnets[a]") && !covers("controlnets[a]", "controlnets.order"));
        assert!(!covers("controlnets[a]", "controlnets[a/b]") && !covers("prompt", "prompt_interpolation_method"));
    }

    #[test]
    fn fields_need_their_item_and_an_order_the_items_that_are_added_or_removed() {
        assert!(depends("controlnets[a].enabled", "controlnets[a]") && depends("controlnets.order", "controlnets[a]"));
        assert!(!depends("controlnets[a]", "controlnets[a]") && !depends("controlnets[a]", "controlnets.order"));
        assert!(
            !depends("controlnets.order", "controlnets[a].enabled") && !depends("controlnets.order", "lora_dict[a]")
        );
    }
}

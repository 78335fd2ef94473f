//! The change that a message asks for: a path in the parameters, and a value of the kind that the parameter has.

use dreamframe::StreamDiffusionParams;
use dreamframe::params::{Constraint, FIELDS};
use rosc::OscType;
use serde_json::{Map, Value};

use super::packet::{Message, OscError};
use crate::wire::Object;

/// A value for a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    path: Vec<String>,
    /// `None` for the default.
    value: Option<Value>,
    address: String,
}

impl Write {
    /// Finds the parameter of a message, and converts its values.
    ///
    /// # Errors
    ///
    /// `Message` for a path that names no parameter, and for values of a wrong kind.
    pub(super) fn new(message: Message) -> Result<Self, OscError> {
        let address = message.address();
        let fault = |reason: String| OscError::message(&address, reason);
        let (path, kind) = find(&message.path).ok_or_else(|| {
            fault("names no parameter, expected one such as delta or controlnets/0/conditioning_scale".to_owned())
        })?;
        let value = convert(message.values, kind).map_err(fault)?;
        Ok(Self { path, value, address })
    }

    pub(super) fn path(&self) -> &[String] {
        &self.path
    }

    /// The memory that it takes, approximately.
    pub(super) fn bytes(&self) -> usize {
        2 * self.address.len() + self.value.as_ref().map_or(0, |value| value.to_string().len())
    }
}

/// Returns the path of a parameter, with a name of a map as one part, and what values it may have; `None` if no parameter
/// has this path, and an unknown kind for a part of one.
fn find(parts: &[String]) -> Option<(Vec<String>, Option<&'static Constraint>)> {
    let mut name = String::new();
    for (at, part) in parts.iter().enumerate() {
        match index(part) {
            Some(_) if at > 0 => name.push_str("[]"),
            _ if at > 0 => name = format!("{name}.{part}"),
            _ => name.clone_from(part),
        }
        let rest = parts.get(at + 1..).unwrap_or_default();
        let Some(field) = FIELDS.iter().find(|field| field.path == name) else { continue };
        match &field.constraint {
            kind if rest.is_empty() => return Some((parts.to_vec(), Some(kind))),
            Constraint::Items { .. } => {}
            // A name may contain slashes, as model ids do.
            Constraint::Named { .. } | Constraint::Settings => {
                let mut path = parts.get(..=at).unwrap_or_default().to_vec();
                path.push(rest.join("/"));
                let item = if let Constraint::Named { item, .. } = &field.constraint { Some(*item) } else { None };
                return Some((path, item));
            }
            Constraint::List { item, .. } => {
                return (rest.len() == 1 && index(rest.first()?).is_some()).then(|| (parts.to_vec(), Some(*item)));
            }
            // A value of a blend, or its weight.
            Constraint::Weighted(_) => {
                let is_part = rest.len() <= 2 && rest.iter().all(|part| index(part).is_some());
                return is_part.then(|| (parts.to_vec(), None));
            }
            Constraint::Flag
            | Constraint::Integer { .. }
            | Constraint::Number { .. }
            | Constraint::Text { .. }
            | Constraint::Choice(_)
            | Constraint::Nullable(_)
            | _ => return None,
        }
    }
    let is_within = |path: &str| path.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['.', '[']));
    FIELDS.iter().any(|field| is_within(field.path)).then(|| (parts.to_vec(), None))
}

fn index(part: &str) -> Option<usize> {
    part.parse().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Converts the values of a message to that of a parameter; `None` for the default.
fn convert(mut values: Vec<OscType>, kind: Option<&Constraint>) -> Result<Option<Value>, String> {
    let kind = if let Some(Constraint::Nullable(inner)) = kind { Some(*inner) } else { kind };
    if let [OscType::Array(list)] = values.as_mut_slice() {
        values = std::mem::take(&mut list.content);
    } else if values == [OscType::Nil] {
        return Ok(None);
    }
    let count = values.len();
    let item = match kind {
        Some(Constraint::List { item, .. }) => Some(*item),
        Some(Constraint::Weighted(_)) if count > 1 => return blend(values).map(Some),
        _ if count != 1 => return Err(format!("got {count} values, expected one")),
        other => {
            let one = values.into_iter().map(|value| plain(value, other)).collect::<Result<Vec<_>, _>>()?;
            return Ok(one.into_iter().next());
        }
    };
    if count == 0 {
        return Err("got no value, expected at least one".to_owned());
    }
    let all = values.into_iter().map(|value| plain(value, item)).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Value::Array(all)))
}

/// Pairs of a value and its weight, in turn or as lists.
fn blend(values: Vec<OscType>) -> Result<Value, String> {
    let all = values.into_iter().map(|value| plain(value, None)).collect::<Result<Vec<_>, _>>()?;
    if all.iter().all(Value::is_array) {
        return Ok(Value::Array(all));
    }
    if all.len() % 2 == 1 {
        return Err(format!("got {} values, expected one, or pairs of a value and its weight", all.len()));
    }
    Ok(Value::Array(all.chunks(2).map(|pair| Value::Array(pair.to_vec())).collect()))
}

/// Converts one value. Programs that know numbers alone send 0 and 1 for flags, and whole numbers with a point.
fn plain(value: OscType, kind: Option<&Constraint>) -> Result<Value, String> {
    let number = match value {
        OscType::Int(number) => return Ok(flag_or(kind, f64::from(number), number.into())),
        OscType::Long(number) => return Ok(flag_or(kind, number as f64, number.into())),
        // The shortest decimal, so that 0.3 is 0.3.
        OscType::Float(number) => number.to_string().parse().unwrap_or(f64::NAN),
        OscType::Double(number) => number,
        OscType::Bool(flag) => return Ok(flag.into()),
        OscType::String(text) => return Ok(text.into()),
        OscType::Char(letter) => return Ok(letter.to_string().into()),
        OscType::Array(list) => {
            return list
                .content
                .into_iter()
                .map(|inner| plain(inner, None))
                .collect::<Result<_, _>>()
                .map(Value::Array);
        }
        OscType::Nil => return Err("got nil in a list, expected values".to_owned()),
        OscType::Time(_) | OscType::Blob(_) | OscType::Color(_) | OscType::Midi(_) | OscType::Inf => {
            return Err("got a value of another type, expected a number, text, true, false or nil".to_owned());
        }
    };
    if !number.is_finite() {
        return Err(format!("got {number}, expected a finite number"));
    }
    let is_whole = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    let as_integer =
        is_whole && matches!(kind, Some(Constraint::Integer { .. } | Constraint::Weighted(Constraint::Integer { .. })));
    Ok(flag_or(kind, number, if as_integer { Value::from(number as i64) } else { number.into() }))
}

fn flag_or(kind: Option<&Constraint>, number: f64, otherwise: Value) -> Value {
    let is_flag = kind == Some(&Constraint::Flag) && (number == 0.0 || number == 1.0);
    if is_flag { Value::Bool(number == 1.0) } else { otherwise }
}

/// Returns the parameters to change so that `writes` take effect in order: values of objects alone, lists as a whole.
///
/// # Errors
///
/// `Message` for an item that is not there, and for a default of what has none.
pub(super) fn resolve(
    writes: &[Write],
    now: &StreamDiffusionParams,
    defaults: &StreamDiffusionParams,
) -> Result<Object, OscError> {
    let (now, defaults) = (now.to_value(), defaults.to_value());
    let mut out = Value::Object(Map::new());
    for write in writes {
        put(&mut out, &now, &defaults, write).map_err(|reason| OscError::message(&write.address, reason))?;
    }
    match out {
        Value::Object(out) => Ok(out),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Ok(Map::new()),
    }
}

fn put(out: &mut Value, now: &Value, defaults: &Value, write: &Write) -> Result<(), String> {
    let Some((last, parents)) = write.path.split_last() else { return Ok(()) };
    let (mut slot, mut now, mut default) = (out, Some(now), Some(defaults));
    for (depth, part) in parents.iter().enumerate() {
        slot = child(slot, part)?;
        (now, default) = (get(now, part), get(default, part));
        if slot.is_null() {
            let is_map = FIELDS
                .iter()
                .any(|field| matches!(field.constraint, Constraint::Named { .. }) && depth == 0 && field.path == part);
            *slot = match now {
                Some(list @ Value::Array(_)) => list.clone(),
                Some(map @ Value::Object(_)) if is_map => map.clone(),
                _ => Value::Object(Map::new()),
            };
        }
    }
    if let Some(value) = write.value.clone().or_else(|| get(default, last).cloned()) {
        *child(slot, last)? = value;
        return Ok(());
    }
    match slot {
        // Without the name, an item has the default, and a map has no entry.
        Value::Object(map) => drop(map.shift_remove(last)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err("got nil, expected a value: items of lists have no default".to_owned());
        }
    }
    Ok(())
}

fn get<'a>(value: Option<&'a Value>, part: &str) -> Option<&'a Value> {
    match value? {
        Value::Object(map) => map.get(part),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

fn child<'a>(value: &'a mut Value, part: &str) -> Result<&'a mut Value, String> {
    match value {
        Value::Object(map) => Ok(map.entry(part).or_insert(Value::Null)),
        Value::Array(list) => {
            let count = list.len();
            let item = index(part).and_then(|at| list.get_mut(at));
            item.ok_or_else(|| format!("got item {part:?} of a list of {count}, expected an index below its length"))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(format!("got {part:?} within a single value, expected a list or an object there"))
        }
    }
}

#[cfg(test)]
mod tests {
    use rosc::OscArray;
    use serde_json::json;

    use super::*;

    fn write(path: &str, values: Vec<OscType>) -> Result<Write, OscError> {
        Write::new(Message { stream: "a".into(), path: path.split('/').map(str::to_owned).collect(), values })
    }

    fn changed(now: &Value, path: &str, values: Vec<OscType>) -> Result<Value, OscError> {
        let defaults = StreamDiffusionParams::default();
        let now = defaults.patched(&now.to_string()).unwrap().0;
        resolve(&[write(path, values)?], &now, &defaults).map(Value::Object)
    }

    fn text(text: &str) -> OscType {
        OscType::String(text.to_owned())
    }

    #[test]
    fn values_have_the_kind_of_their_parameter() {
        use OscType::{Bool, Double, Float, Int, Long};
        let list = |content| vec![OscType::Array(OscArray { content })];
        for (path, values, expected) in [
            ("delta", vec![Float(0.3)], json!({"delta": 0.3})),
            ("delta", vec![Int(1)], json!({"delta": 1})),
            ("width", vec![Float(512.0)], json!({"width": 512})),
            ("width", vec![Float(512.5)], json!({"width": 512.5})),
            ("skip_diffusion", vec![Float(1.0)], json!({"skip_diffusion": true})),
            ("skip_diffusion", vec![Int(0)], json!({"skip_diffusion": false})),
            ("skip_diffusion", vec![Bool(true)], json!({"skip_diffusion": true})),
            ("seed", vec![Long(1 << 40)], json!({"seed": 1_u64 << 40})),
            ("seed", vec![Double(7.0)], json!({"seed": 7})),
            ("prompt", vec![text("ink")], json!({"prompt": "ink"})),
            ("prompt", vec![text("a"), Float(0.5), text("b"), Int(1)], json!({"prompt": [["a", 0.5], ["b", 1]]})),
            ("t_index_list", vec![Int(10), Float(20.0)], json!({"t_index_list": [10, 20]})),
            ("t_index_list", vec![Int(10)], json!({"t_index_list": [10]})),
            ("t_index_list", list(vec![Int(10), Int(20)]), json!({"t_index_list": [10, 20]})),
            ("ip_adapter/scale", vec![Float(0.5)], json!({"ip_adapter": {"scale": 0.5}})),
            ("lora_dict/author/name", vec![Float(0.5)], json!({"lora_dict": {"author/name": 0.5}})),
        ] {
            assert_eq!(changed(&json!({}), path, values).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn items_of_lists_and_entries_of_maps_change_alone() {
        let now = json!({
            "prompt": [["a", 0.5], ["b", 1.0]], "lora_dict": {"one": 1.0, "two": 0.5}, "t_index_list": [5, 15],
            "image_preprocessing": {"enabled": true, "processors": [{"type": "blur", "params": {"radius": 2}}]},
        });
        let float = |value| vec![OscType::Float(value)];
        let of = |path: &str, values| changed(&now, path, values).unwrap();
        assert_eq!(of("prompt/1/1", float(0.25))["prompt"], json!([["a", 0.5], ["b", 0.25]]));
        assert_eq!(of("lora_dict/two", float(1.0))["lora_dict"], json!({"one": 1.0, "two": 1.0}));
        assert_eq!(of("lora_dict/two", vec![OscType::Nil])["lora_dict"], json!({"one": 1.0}));
        assert_eq!(of("t_index_list/1", float(20.0))["t_index_list"], json!([5, 20]));
        let chain = of("image_preprocessing/processors/0/params/radius", float(3.0));
        assert_eq!(chain["image_preprocessing"]["processors"][0]["params"], json!({"radius": 3.0}));
        assert!(chain["image_preprocessing"].get("enabled").is_none());
        let disabled = of("image_preprocessing/processors/0/enabled", vec![OscType::Int(0)]);
        assert_eq!(disabled["image_preprocessing"]["processors"][0]["enabled"], json!(false));
    }

    #[test]
    fn paths_and_values_at_fault_are_named() {
        let int = || vec![OscType::Int(1)];
        for (path, values) in [
            ("odd", int()),
            ("delta/0", int()),
            ("delta", vec![]),
            ("delta", vec![OscType::Float(f32::NAN)]),
            ("delta", vec![OscType::Int(1), OscType::Int(2)]),
            ("delta", vec![OscType::Blob(vec![0])]),
            ("delta", vec![OscType::Inf]),
            ("prompt", vec![text("a"), OscType::Int(1), text("b")]),
            ("prompt/x", int()),
            ("t_index_list/9", int()),
            ("t_index_list", vec![]),
            ("t_index_list/99999999999999999999999", int()),
            ("controlnets/0/conditioning_scale", int()),
            ("controlnets/0/odd", int()),
            ("controlnets/0", vec![OscType::Nil]),
            ("0", int()),
        ] {
            let error = changed(&json!({}), path, values).unwrap_err();
            assert!(error.to_string().starts_with(&format!("/dreamframe/a/{path}: ")), "{error}");
        }
    }
}

//! A target that compares what parameters accept with their JSON Schema.

use arbitrary::{Arbitrary, Result, Unstructured};
use dreamframe::params::{ParamsPatch, schema};
use serde_json::{Map, Value, json};

/// Keywords that say nothing about what is valid.
const ANNOTATIONS: [&str; 6] = ["$schema", "default", "description", "format", "title", "deprecated"];

/// Returns whether `value` is valid by the schema `node`, whose keywords are those that the parameters' schema has.
fn is_valid(node: &Value, value: &Value) -> bool {
    let rules = node.as_object().into_iter().flatten().filter(|(name, _)| !ANNOTATIONS.contains(&name.as_str()));
    let length = |text: &Value| text.as_str().map(|text| text.chars().count() as f64);
    let count = value.as_array().map(|items| items.len() as f64);
    let size = value.as_object().map(|fields| fields.len() as f64);
    let mut rules = rules.map(|(name, rule)| (name.as_str(), rule));
    rules.all(|(name, rule)| {
        let bound = rule.as_f64().unwrap_or(f64::NAN);
        match name {
            "type" => is_any(rule, |name| is_of(name, value)),
            "const" => rule == value,
            "anyOf" => is_any(rule, |node| is_valid(node, value)),
            "oneOf" => rule.as_array().into_iter().flatten().filter(|node| is_valid(node, value)).count() == 1,
            "minimum" => value.as_f64().is_none_or(|number| bound <= number),
            "maximum" => value.as_f64().is_none_or(|number| number <= bound),
            "multipleOf" => value.as_f64().is_none_or(|number| number % bound == 0.0),
            "minLength" => length(value).is_none_or(|length| bound <= length),
            "maxLength" => length(value).is_none_or(|length| length <= bound),
            "minItems" => count.is_none_or(|count| bound <= count),
            "maxItems" => count.is_none_or(|count| count <= bound),
            "maxProperties" => size.is_none_or(|size| size <= bound),
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| is_valid(rule, item))),
            "prefixItems" => {
                let pairs = rule.as_array().into_iter().flatten().zip(value.as_array().into_iter().flatten());
                pairs.into_iter().all(|(node, item)| is_valid(node, item))
            }
            "required" => value.as_object().is_none_or(|fields| is_all(rule, |name| fields.contains_key(name))),
            "properties" => each(value, |name, field| rule.get(name).is_none_or(|node| is_valid(node, field))),
            "additionalProperties" => each(value, |name, field| {
                let is_named = node["properties"].get(name).is_some();
                is_named || rule.as_bool().unwrap_or_else(|| is_valid(rule, field))
            }),
            other => panic!("unknown keyword {other}"),
        }
    })
}

/// Returns whether one of `options`, or `options` itself if it is no list, is right.
fn is_any(options: &Value, is_right: impl Fn(&Value) -> bool) -> bool {
    options.as_array().map_or_else(|| is_right(options), |options| options.iter().any(&is_right))
}

fn is_all(names: &Value, is_right: impl Fn(&str) -> bool) -> bool {
    names.as_array().into_iter().flatten().filter_map(Value::as_str).all(is_right)
}

fn each(value: &Value, is_right: impl Fn(&str, &Value) -> bool) -> bool {
    value.as_object().into_iter().flatten().all(|(name, field)| is_right(name, field))
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("number") => value.is_number(),
        Some("integer") => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("unknown type {other:?}"),
    }
}

/// Makes a value that is usually valid by the schema `node`, or nearly so.
fn value(node: &Value, u: &mut Unstructured<'_>) -> Result<Value> {
    if u.ratio(1, 24)? {
        let wrong = [json!(null), json!(true), json!(-1), json!(1.5), json!(1e18), json!("odd"), json!([]), json!({})];
        return Ok(u.choose(&wrong)?.clone());
    }
    if let Some(options) = node.get("oneOf").or_else(|| node.get("anyOf")).and_then(Value::as_array) {
        return value(u.choose(options)?, u);
    }
    if let Some(only) = node.get("const") {
        return Ok(only.clone());
    }
    let types = node["type"].as_array().cloned().unwrap_or_else(|| vec![node["type"].clone()]);
    let bounds = |least: &str, most: &str| (node[least].as_f64().unwrap_or(0.0), node[most].as_f64().unwrap_or(5.0));
    Ok(match u.choose(&types)?.as_str() {
        Some("boolean") => json!(bool::arbitrary(u)?),
        Some("string") => json!(u.arbitrary::<&str>()?),
        Some("integer") => {
            let ((least, most), step) = (bounds("minimum", "maximum"), node["multipleOf"].as_i64().unwrap_or(1));
            json!(u.int_in_range(least as i64 / step..=most as i64 / step + 1)? * step)
        }
        Some("number") => {
            let (least, most) = bounds("minimum", "maximum");
            json!(least + (most - least) * f64::from(u.arbitrary::<u16>()?) / 65_000.0)
        }
        Some("array") => {
            let pair = node["prefixItems"].as_array().map_or(&[][..], Vec::as_slice);
            let more = if pair.is_empty() { u.int_in_range(0..=2)? } else { 0 };
            let nodes = pair.iter().chain(std::iter::repeat_n(&node["items"], more));
            nodes.map(|node| value(node, u)).collect::<Result<_>>()?
        }
        Some("object") => object(node, u)?,
        _ => Value::Null,
    })
}

fn object(node: &Value, u: &mut Unstructured<'_>) -> Result<Value> {
    let mut fields = Map::new();
    let known: Vec<_> = node["properties"].as_object().into_iter().flatten().collect();
    for name in node["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !u.ratio(1, 16)? {
            fields.insert(name.to_owned(), value(&node["properties"][name], u)?);
        }
    }
    for _ in 0..u.int_in_range(0..=3)? {
        if !known.is_empty() && !u.ratio(1, 24)? {
            let (name, node) = *u.choose(&known)?;
            fields.insert(name.clone(), value(node, u)?);
        } else {
            // Of an object that allows no other names, null: any value is refused.
            fields.insert(u.arbitrary::<&str>()?.to_owned(), value(&node["additionalProperties"], u)?);
        }
    }
    Ok(Value::Object(fields))
}

/// Parameters made by their JSON Schema, with errors: a patch is accepted if and only if the schema says so.
pub fn params_schema(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok(patch) = object(schema(), &mut input) else { return };
    let accepted = ParamsPatch::from_value(patch.clone());
    assert_eq!(accepted.is_ok(), is_valid(schema(), &patch), "{patch}: {:?}", accepted.err().map(|e| e.to_string()));
}

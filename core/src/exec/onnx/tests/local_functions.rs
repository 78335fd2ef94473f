//! The operators of the CUDA provider as functions of the model itself, so that graphs with them run on every provider.

use super::decode::{Field, all, fields};
use crate::exec::onnx::dialect::{BIAS_SPLIT_GELU, Dialect, GROUP_NORM, SKIP_GROUP_NORM};
use crate::exec::onnx::emit::Graphs;
use crate::exec::onnx::proto::Attribute::{Int, Ints};
use crate::exec::onnx::proto::{self, Attribute, Message};

/// The domain of the functions.
const DOMAIN: &str = "local";
/// The types of attributes in `AttributeProto.AttributeType`.
const FLOAT: i64 = 1;
const INT: i64 = 2;

/// Replaces the operators without a kernel on the CPU provider with functions of the same meaning.
pub(super) fn replace_operators(graphs: &mut Graphs) {
    for model in graphs.constant.iter_mut().chain([&mut graphs.frame]) {
        model.bytes = with_functions(&model.bytes);
    }
}

fn with_functions(model: &[u8]) -> Vec<u8> {
    let model = with_replaced(model, 7, |graph| with_replaced(graph, 1, replaced));
    let model = model.message(8, &proto::operator_set(DOMAIN, 1));
    let functions = [false, true].into_iter().flat_map(|silu| [group_norm(false, silu), group_norm(true, silu)]);
    functions.chain([bias_split_gelu()]).fold(model, |model, function| model.message(25, &function)).into_bytes()
}

/// Returns a message with the messages in the fields `number` replaced with what `replace` returns.
fn with_replaced(message: &[u8], number: u64, replace: impl Fn(&[u8]) -> Message) -> Message {
    fields(message).into_iter().fold(Message::default(), |copy, field| match field {
        (field, Field::Bytes(bytes)) if field == number => copy.message(field, &replace(bytes)),
        (field, Field::Bytes(bytes)) => copy.bytes(field, bytes),
        (field, Field::Varint(value)) => copy.int(field, value as i64),
        (field, Field::Fixed32(bits)) => copy.float(field, f32::from_bits(bits)),
    })
}

/// Returns a node that calls a function if there is one for its operator.
fn replaced(node: &[u8]) -> Message {
    let operator = [7, 4].map(|number| String::from_utf8(all(node, number).concat()).unwrap()).join(".");
    let name = function_name(&operator, has_silu(node));
    fields(node).into_iter().fold(Message::default(), |copy, (field, value)| match (field, value, &name) {
        (4, _, Some(name)) => copy.text(4, name),
        (7, _, Some(_)) => copy.text(7, DOMAIN),
        (_, Field::Bytes(bytes), _) => copy.bytes(field, bytes),
        (_, Field::Varint(_) | Field::Fixed32(_), _) => {
            panic!("field of a node: got {field}, expected a text or a message")
        }
    })
}

/// Returns whether the attribute `activation` of a node is 1.
fn has_silu(node: &[u8]) -> bool {
    let activation = |attribute: &&[u8]| all(attribute, 1) == [b"activation"];
    let is_one = |attribute: &[u8]| fields(attribute).iter().any(|field| matches!(field, (3, Field::Varint(1))));
    all(node, 5).iter().filter(|attribute| activation(attribute)).any(|attribute| is_one(attribute))
}

fn function_name(operator: &str, silu: bool) -> Option<String> {
    let is_replaced = [GROUP_NORM, SKIP_GROUP_NORM, BIAS_SPLIT_GELU].contains(&operator);
    let name = proto::domain_and_name(operator).1;
    is_replaced.then(|| format!("{name}{}", if silu { "Silu" } else { "" }))
}

/// Encodes a `FunctionProto` from its inputs, the names of its attributes and its nodes; its output is `y`.
fn function(name: &str, inputs: &[&str], attributes: &[&str], nodes: &[Message]) -> Message {
    let message = Message::default().text(1, name);
    let message = inputs.iter().fold(message, |message, input| message.text(4, input)).text(5, "y");
    let message = attributes.iter().fold(message, |message, attribute| message.text(6, attribute));
    let message = nodes.iter().fold(message, |message, node| message.message(7, node));
    message.message(9, &proto::operator_set("", Dialect::Cuda.standard_version())).text(10, DOMAIN)
}

/// Returns a node with the attribute `name` of the type `kind` that has the value of the function's attribute `of`.
fn with_reference(node: Message, name: &str, kind: i64, of: &str) -> Message {
    node.message(5, &Message::default().text(1, name).int(20, kind).text(21, of))
}

/// Returns a node with one output.
fn node(op: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attribute<'_>)]) -> Message {
    proto::node(op, inputs, &[output], attributes)
}

/// Returns the function of `GroupNorm`, or of `SkipGroupNorm` if `skip`, on channels-last images.
fn group_norm(skip: bool, silu: bool) -> Message {
    let integers = |output: &str, value: i64| node("Constant", &[], output, &[("value_ints", Ints(&[value]))]);
    let groups = with_reference(node("Constant", &[], "groups", &[]), "value_int", INT, "groups");
    // Normalizes each group as if it were a channel.
    let norm = node("InstanceNormalization", &["grouped", "ones", "zeros"], "normed", &[]);
    let sum = if skip { node("Add", &["x", "skip"], "sum", &[]) } else { node("Identity", &["x"], "sum", &[]) };
    let mut nodes = vec![
        sum,
        node("Transpose", &["sum"], "image", &[("perm", Ints(&[0, 3, 1, 2]))]),
        node("Shape", &["image"], "shape", &[]),
        integers("same", 0),
        integers("rest", -1),
        integers("vector", 1),
        groups,
        node("Reshape", &["groups", "vector"], "group_count", &[]),
        node("Concat", &["same", "group_count", "rest"], "grouped_shape", &[("axis", Int(0))]),
        node("Reshape", &["image", "grouped_shape"], "grouped", &[]),
        node("ConstantOfShape", &["group_count"], "zeros_f32", &[]),
        node("CastLike", &["zeros_f32", "x"], "zeros", &[]),
        node("Exp", &["zeros"], "ones", &[]),
        with_reference(norm, "epsilon", FLOAT, "epsilon"),
        node("Reshape", &["normed", "shape"], "normed_image", &[]),
        node("Transpose", &["normed_image"], "channels_last", &[("perm", Ints(&[0, 2, 3, 1]))]),
        node("CastLike", &["gamma", "x"], "scale", &[]),
        node("CastLike", &["beta", "x"], "shift", &[]),
        node("Mul", &["channels_last", "scale"], "scaled", &[]),
        node("Add", &["scaled", "shift"], if silu { "result" } else { "y" }, &[]),
    ];
    if silu {
        nodes.push(node("Sigmoid", &["result"], "gate", &[]));
        nodes.push(node("Mul", &["result", "gate"], "y", &[]));
    }
    let (operator, inputs) = if skip { (SKIP_GROUP_NORM, 4) } else { (GROUP_NORM, 3) };
    let name = function_name(operator, silu).unwrap();
    let attributes = ["groups", "epsilon", "activation", "channels_last"];
    function(&name, &["x", "gamma", "beta", "skip"][..inputs], &attributes, &nodes)
}

fn bias_split_gelu() -> Message {
    let nodes = [
        node("Add", &["x", "bias"], "sum", &[]),
        proto::node("Split", &["sum"], &["a", "b"], &[("axis", Int(-1)), ("num_outputs", Int(2))]),
        node("Gelu", &["b"], "gate", &[]),
        node("Mul", &["a", "gate"], "y", &[]),
    ];
    function(&function_name(BIAS_SPLIT_GELU, false).unwrap(), &["x", "bias"], &[], &nodes)
}

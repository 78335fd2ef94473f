//! Reads encoded models, for tests and tools. Its functions panic if a model is malformed.

use std::collections::BTreeMap;

/// The value of a field of a protobuf message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// Returns the fields of a message with their numbers, in order.
pub(super) fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut message)),
            2 => {
                let len = varint(&mut message) as usize;
                Field::Bytes(message.split_off(..len).unwrap())
            }
            5 => Field::Fixed32(u32::from_le_bytes(message.split_off(..4).unwrap().try_into().unwrap())),
            wire_type => panic!("wire type: got {wire_type}, expected 0, 2 or 5"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first().unwrap();
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// Returns the messages or texts in the fields `number` of a message.
pub(super) fn all(message: &[u8], number: u64) -> Vec<&[u8]> {
    let of_number = |(field, value)| match value {
        Field::Bytes(bytes) if field == number => Some(bytes),
        Field::Varint(_) | Field::Bytes(_) | Field::Fixed32(_) => None,
    };
    fields(message).into_iter().filter_map(of_number).collect()
}

/// A node of a graph.
#[derive(Debug)]
pub(super) struct Node {
    /// The operator; its domain precedes it with a dot if it is not that of ONNX.
    pub(super) operator: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
}

/// Returns the nodes of a model's graph.
pub(super) fn nodes(model: &[u8]) -> Vec<Node> {
    let node = |message: &[u8]| {
        let texts = |number| all(message, number).into_iter().map(|text| String::from_utf8(text.to_vec()).unwrap());
        let operator = texts(7).chain(texts(4)).collect::<Vec<_>>().join(".");
        Node { operator, inputs: texts(1).collect(), outputs: texts(2).collect() }
    };
    all(model, 7).into_iter().flat_map(|graph| all(graph, 1)).map(node).collect()
}

/// Returns the number of nodes of each operator.
pub(super) fn operators(nodes: &[Node]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for node in nodes {
        *counts.entry(&*node.operator).or_default() += 1;
    }
    counts
}

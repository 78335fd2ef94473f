//! The part of ONNX's protobuf that a model needs. Field numbers are those of `onnx.proto` (IR version 10).

/// A message: its fields, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

/// The wire types of fields.
const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

impl Message {
    /// Returns the encoded message.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Adds an integer; negative ones take ten bytes, as in protobuf's `int64`.
    pub(super) fn int(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3 | VARINT);
        self.varint(value as u64);
        self
    }

    pub(super) fn float(mut self, field: u64, value: f32) -> Self {
        self.varint(field << 3 | FIXED_32);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub(super) fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ElementType {
    F32,
    F16,
    I64,
    U8,
}

impl ElementType {
    /// The value of `TensorProto.DataType`.
    pub(super) const fn code(self) -> i64 {
        match self {
            Self::F32 => 1,
            Self::U8 => 2,
            Self::I64 => 7,
            Self::F16 => 10,
        }
    }

    /// Returns the bytes of an element.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 => 2,
            Self::F32 => 4,
            Self::I64 => 8,
        }
    }
}

/// The value of a node's attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Attribute<'a> {
    Int(i64),
    Float(f32),
    Text(&'a str),
    Ints(&'a [i64]),
}

/// Encodes an `AttributeProto`.
pub(super) fn attribute(name: &str, value: Attribute<'_>) -> Message {
    let message = Message::default().text(1, name);
    match value {
        Attribute::Float(value) => message.float(2, value).int(20, 1),
        Attribute::Int(value) => message.int(3, value).int(20, 2),
        Attribute::Text(value) => message.text(4, value).int(20, 3),
        Attribute::Ints(values) => values.iter().fold(message, |message, &value| message.int(8, value)).int(20, 7),
    }
}

/// Returns the domain and the name of an operator, whose domain precedes it with a dot if it is not that of ONNX.
pub(super) fn domain_and_name(op: &str) -> (&str, &str) {
    op.rsplit_once('.').unwrap_or(("", op))
}

/// Encodes a `NodeProto`; `op` is as in [`domain_and_name`].
pub(super) fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[(&str, Attribute<'_>)]) -> Message {
    let (domain, op) = domain_and_name(op);
    let message = inputs.iter().fold(Message::default(), |message, input| message.text(1, input));
    let message = outputs.iter().fold(message, |message, output| message.text(2, output));
    let message = message.text(3, outputs.first().copied().unwrap_or_default()).text(4, op);
    let message = if domain.is_empty() { message } else { message.text(7, domain) };
    attributes.iter().fold(message, |message, (name, value)| message.message(5, &attribute(name, *value)))
}

/// Encodes an `OperatorSetIdProto`: the version of a domain's operators.
pub(super) fn operator_set(domain: &str, version: i64) -> Message {
    Message::default().text(1, domain).int(2, version)
}

/// Encodes the `ValueInfoProto` of a tensor. A negative dimension is any number, the same for all tensors of a graph that
/// have it.
pub(super) fn value_info(name: &str, element: ElementType, dims: &[i64]) -> Message {
    let encoded = |dim: i64| match dim {
        0.. => Message::default().int(1, dim),
        _ => Message::default().text(2, &format!("d{}", -dim)),
    };
    let dim = |dims: Message, &dim: &i64| dims.message(1, &encoded(dim));
    let shape = dims.iter().fold(Message::default(), dim);
    let tensor = Message::default().int(1, element.code()).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

/// Encodes the `TensorProto` of an initializer whose elements are passed to the session, not part of the model.
pub(super) fn external_tensor(name: &str, element: ElementType, dims: &[i64]) -> Message {
    let location = Message::default().text(1, "location").text(2, "host");
    let message = dims.iter().fold(Message::default(), |message, &dim| message.int(1, dim));
    message.int(2, element.code()).text(8, name).message(13, &location).int(14, 1)
}

/// Encodes the `TensorProto` of an initializer with its elements, in little-endian order.
pub(super) fn tensor(name: &str, element: ElementType, dims: &[i64], elements: &[u8]) -> Message {
    let message = dims.iter().fold(Message::default(), |message, &dim| message.int(1, dim));
    message.int(2, element.code()).text(8, name).bytes(9, elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_varints_of_seven_bits() {
        assert_eq!(Message::default().int(1, 300).into_bytes(), [0x08, 0xac, 0x02]);
        let negative = Message::default().int(20, -1).into_bytes();
        assert_eq!(negative[..2], [0xa0, 0x01]);
        assert_eq!(negative[2..], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    #[test]
    fn texts_messages_and_floats_have_their_wire_types() {
        assert_eq!(Message::default().text(2, "ab").into_bytes(), [0x12, 2, b'a', b'b']);
        let inner = Message::default().int(1, 1);
        assert_eq!(Message::default().message(7, &inner).into_bytes(), [0x3a, 2, 0x08, 1]);
        assert_eq!(Message::default().float(2, 1.0).into_bytes(), [0x15, 0, 0, 0x80, 0x3f]);
    }
}

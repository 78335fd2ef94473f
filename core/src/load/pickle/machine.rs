//! The stack machine that reads a pickle: the opcodes of protocols 2 to 5 that torch writes.
//!
//! No opcode calls anything. `REDUCE` and its relatives only build the values that [`Global`](super::globals::Global)
//! lists.

use std::collections::HashMap;

use super::build::{build, persistent, reduce};
use super::error::PickleError;
use super::globals::{find, refused};
use super::stream::Stream;
use super::value::{Heap, Value};

/// Most values on the stack; picklers add items to containers a thousand at a time.
const MAX_STACK: usize = 1 << 16;
/// Most open marks; the depth of nesting while reading.
const MAX_MARKS: usize = 256;
/// Longest text that is kept, in bytes; longer ones are ignored.
const MAX_TEXT: u64 = 4096;
/// Longest name of a module, class or function, in bytes.
const MAX_NAME: usize = 256;
/// The bytes of torch's number at the start of a file in the legacy layout.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Reads one pickle from the stream's position to its `STOP`, with contents in `heap`.
pub(super) fn run(stream: &mut Stream<'_>, heap: &mut Heap) -> Result<Value, PickleError> {
    let start = stream.position();
    if stream.byte()? != 0x80 {
        return Err(PickleError::unsupported(format!("pickle at {start}: got protocol 0 or 1, expected 2 to 5")));
    }
    let protocol = stream.byte()?;
    if !(2..=5).contains(&protocol) {
        return Err(PickleError::unsupported(format!("pickle protocol: got {protocol}, expected 2 to 5")));
    }
    let mut machine = Machine { stream, heap, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    loop {
        let opcode = machine.stream.byte()?;
        if opcode == b'.' {
            return machine.pop();
        }
        machine.step(opcode)?;
    }
}

struct Machine<'a, 'b> {
    stream: &'a mut Stream<'b>,
    heap: &'a mut Heap,
    stack: Vec<Value>,
    /// The heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
}

impl Machine<'_, '_> {
    fn push(&mut self, value: Value) -> Result<(), PickleError> {
        if self.stack.len() == MAX_STACK {
            return Err(PickleError::limit("values on the stack", self.stack.len() + 1, MAX_STACK));
        }
        self.stack.push(value);
        Ok(())
    }

    /// Takes the topmost value above the last mark.
    fn pop(&mut self) -> Result<Value, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(PickleError::bad("stack: got no value, expected one"));
        }
        self.stack.pop().ok_or_else(|| PickleError::bad("stack: got no value, expected one"))
    }

    fn top(&self) -> Result<Value, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let top = self.stack.get(floor..).and_then(<[Value]>::last);
        top.copied().ok_or_else(|| PickleError::bad("stack: got no value, expected one"))
    }

    /// Takes all values above the last mark, and the mark.
    fn pop_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        let floor = self.marks.pop().ok_or_else(|| PickleError::bad("stack: got no mark, expected one"))?;
        Ok(self.stack.split_off(floor.min(self.stack.len())))
    }

    fn pop_tuple(&mut self, len: usize) -> Result<(), PickleError> {
        let mut items = vec![Value::None; len];
        for item in items.iter_mut().rev() {
            *item = self.pop()?;
        }
        let tuple = self.heap.tuple(items)?;
        self.push(tuple)
    }

    fn step(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' | b'K' | b'M' | 0x8a | 0x8b => self.number(opcode),
            b'G' => {
                self.stream.skip(8)?;
                self.push(Value::Ignored)
            }
            b'X' | 0x8c | 0x8d | b'U' | b'T' => {
                let len = self.length(opcode)?;
                self.text(len)
            }
            b'B' | b'C' | 0x8e | 0x96 => {
                let len = self.length(opcode)?;
                self.stream.skip(len)?;
                self.push(Value::Ignored)
            }
            0x95 => {
                let len = u64::from_le_bytes(self.stream.array()?);
                if len > self.stream.rest() {
                    return Err(PickleError::limit("length of a frame", len, self.stream.rest()));
                }
                Ok(())
            }
            b'(' => {
                if self.marks.len() == MAX_MARKS {
                    return Err(PickleError::limit("depth of nesting", MAX_MARKS + 1, MAX_MARKS));
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            b'2' => self.top().and_then(|top| self.push(top)),
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(opcode),
            b'}' | b'd' | b']' | b'l' | b')' | b't' | 0x85..=0x87 | 0x8f | 0x91 => self.container(opcode),
            b'a' | b'e' | b's' | b'u' | 0x90 => self.add(opcode),
            _ => self.object(opcode),
        }
    }

    /// Whole numbers.
    fn number(&mut self, opcode: u8) -> Result<(), PickleError> {
        let number = match opcode {
            b'J' => i64::from(i32::from_le_bytes(self.stream.array()?)),
            b'K' => i64::from(self.stream.byte()?),
            b'M' => i64::from(u16::from_le_bytes(self.stream.array()?)),
            _ => {
                let len = match opcode {
                    0x8a => u64::from(self.stream.byte()?),
                    _ => u64::from(u32::from_le_bytes(self.stream.array()?)),
                };
                if len > 8 {
                    let is_magic = len == 10 && self.stream.array::<10>()? == MAGIC;
                    self.stream.skip(if len == 10 { 0 } else { len })?;
                    return self.push(if is_magic { Value::Magic } else { Value::Ignored });
                }
                let bytes = self.stream.take(len as usize)?;
                let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
                let mut number = [sign; 8];
                number.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                i64::from_le_bytes(number)
            }
        };
        self.push(Value::Int(number))
    }

    /// Reads the length of a text or of bytes.
    fn length(&mut self, opcode: u8) -> Result<u64, PickleError> {
        let len = match opcode {
            0x8c | b'U' | b'C' => u64::from(self.stream.byte()?),
            b'X' | b'B' | b'T' => u64::from(u32::from_le_bytes(self.stream.array()?)),
            _ => u64::from_le_bytes(self.stream.array()?),
        };
        if len > self.stream.rest() {
            return Err(PickleError::limit("length of a text or of bytes", len, self.stream.rest()));
        }
        Ok(len)
    }

    fn text(&mut self, len: u64) -> Result<(), PickleError> {
        if len > MAX_TEXT {
            self.stream.skip(len)?;
            return self.push(Value::Ignored);
        }
        let text = match std::str::from_utf8(self.stream.take(len as usize)?) {
            Ok(text) => self.heap.text(text)?,
            Err(_) => Value::Ignored,
        };
        self.push(text)
    }

    /// Values by number.
    fn memo(&mut self, opcode: u8) -> Result<(), PickleError> {
        let number = match opcode {
            b'q' | b'h' => u32::from(self.stream.byte()?),
            b'r' | b'j' => u32::from_le_bytes(self.stream.array()?),
            _ => self.memo.len() as u32,
        };
        if matches!(opcode, b'h' | b'j') {
            let value = self.memo.get(&number).copied();
            let value =
                value.ok_or_else(|| PickleError::bad(format!("memo: got {number}, expected a stored number")))?;
            return self.push(value);
        }
        let top = self.top()?;
        if self.memo.insert(number, top).is_none() {
            self.heap.count(1)?;
        }
        Ok(())
    }

    fn container(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            b'}' => {
                let dict = self.heap.dict()?;
                self.push(dict)
            }
            b'd' => {
                let (dict, items) = (self.heap.dict()?, self.pop_mark()?);
                self.set_items(dict, &items)?;
                self.push(dict)
            }
            b']' => {
                let list = self.heap.list(Vec::new())?;
                self.push(list)
            }
            b'l' => {
                let items = self.pop_mark()?;
                let list = self.heap.list(items)?;
                self.push(list)
            }
            b't' => {
                let items = self.pop_mark()?;
                let tuple = self.heap.tuple(items)?;
                self.push(tuple)
            }
            b')' => self.pop_tuple(0),
            0x85..=0x87 => self.pop_tuple(usize::from(opcode - 0x84)),
            // Sets, which hold no tensors.
            0x91 => {
                self.pop_mark()?;
                self.push(Value::Ignored)
            }
            _ => self.push(Value::Ignored),
        }
    }

    /// Adds items to the container below them.
    fn add(&mut self, opcode: u8) -> Result<(), PickleError> {
        let items = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let to = self.top()?;
        match (opcode, to) {
            (_, Value::Ignored) => Ok(()),
            (b's' | b'u', dict) => self.set_items(dict, &items),
            (b'a' | b'e', Value::List(at)) => {
                self.heap.count(items.len())?;
                self.heap.lists.get_mut(at).into_iter().for_each(|list| list.extend_from_slice(&items));
                Ok(())
            }
            (_, other) => Err(PickleError::bad(format!("container of items: got {}, expected a list", other.kind()))),
        }
    }

    fn set_items(&mut self, dict: Value, items: &[Value]) -> Result<(), PickleError> {
        let (pairs, rest) = items.as_chunks::<2>();
        let Value::Dict(at) = dict else {
            let text = format!("container of entries: got {}, expected a dictionary", dict.kind());
            return Err(PickleError::bad(text));
        };
        if !rest.is_empty() {
            return Err(PickleError::bad(format!(
                "entries of a dictionary: got {} values, expected pairs",
                items.len()
            )));
        }
        self.heap.count(items.len())?;
        self.heap
            .dicts
            .get_mut(at)
            .into_iter()
            .for_each(|dict| dict.extend(pairs.iter().map(|&[key, value]| (key, value))));
        Ok(())
    }

    /// Names, and what is made with them.
    fn object(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            b'c' => {
                let (module, name) = self.names()?;
                self.push(Value::Global(find(&module, &name)?))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |value| {
                    self.heap.as_text(value).ok_or_else(|| PickleError::bad("name: got another value, expected a text"))
                };
                let global = find(text(module)?, text(name)?)?;
                self.push(Value::Global(global))
            }
            b'i' => {
                let (module, name) = self.names()?;
                Err(refused(&module, &name))
            }
            b'R' | 0x81 => {
                let (args, function) = (self.pop()?, self.pop()?);
                let made = reduce(self.heap, function, args)?;
                self.push(made)
            }
            b'b' => {
                self.pop()?;
                build(self.top()?)
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = persistent(self.heap, id)?;
                self.push(storage)
            }
            0x82..=0x84 => {
                let code = match opcode {
                    0x82 => u32::from(self.stream.byte()?),
                    0x83 => u32::from(u16::from_le_bytes(self.stream.array()?)),
                    _ => u32::from_le_bytes(self.stream.array()?),
                };
                Err(PickleError::unsupported(format!(
                    "got extension {code}, expected no extensions; nothing was executed"
                )))
            }
            _ => {
                let at = self.stream.position() - 1;
                let text =
                    format!("opcode at {at}: got {opcode:#04x}, expected one that torch writes; nothing was executed");
                Err(PickleError::unsupported(text))
            }
        }
    }

    /// Reads two lines: the name of a module, and a name in it.
    fn names(&mut self) -> Result<(String, String), PickleError> {
        let mut line = || self.stream.line(MAX_NAME).map(|line| String::from_utf8_lossy(&line).into_owned());
        Ok((line()?, line()?))
    }
}

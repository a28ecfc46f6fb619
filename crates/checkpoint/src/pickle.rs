//! The pickle in a PyTorch file, read without being run.
//!
//! A pickle is a program: it may name any Python function and have it called. This machine knows the opcodes of protocol 2 that
//! a state dict is made of and the few functions below. Whatever else a file asks for is refused by name. Nothing is executed.

use std::collections::HashMap;

use safetensors::tensor::Dtype;

/// Why a pickle is no state dict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// It ends in the middle of an instruction, or before the last one.
    #[error("its pickle ends early")]
    Truncated,
    /// It is far larger than the names and shapes of any SAM.
    #[error("its pickle has {found} bytes, at most {largest} are read")]
    TooLarge {
        /// Its length.
        found: u64,
        /// The longest that is read.
        largest: usize,
    },
    /// An instruction that no state dict needs.
    #[error("its pickle has the instruction {code:#04x} at byte {at}, which no state dict needs")]
    Opcode {
        /// The instruction.
        code: u8,
        /// Where it stands.
        at: usize,
    },
    /// A function or class that is not one of a state dict's.
    #[error("its pickle asks for the Python object `{name}`, which is not read: it may do anything")]
    Global {
        /// Module and name.
        name: String,
    },
    /// The instructions do not go together.
    #[error("its pickle is damaged at byte {at}: {what}")]
    Damaged {
        /// Where it stands.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// It is no flat dictionary of tensors.
    #[error(
        "it holds {found}; a flat dictionary of tensors is expected, as `torch.save(model.state_dict(), ...)` writes it"
    )]
    NoStateDict {
        /// What is there instead.
        found: String,
    },
    /// A tensor that is not stored as one run of numbers.
    #[error("tensor `{name}` {what}")]
    Tensor {
        /// Its name.
        name: String,
        /// What about it is not read.
        what: &'static str,
    },
}

/// The names and shapes of the largest SAM take 150 KB.
pub(crate) const LARGEST: usize = 4 << 20;

/// A convolution's weight has four.
const MOST_AXES: usize = 8;

/// A tensor of a state dict: where in which storage its numbers lie.
#[derive(Debug, PartialEq)]
pub(crate) struct Stored<'a> {
    pub name: &'a str,
    /// The record of the archive that holds the numbers.
    pub key: &'a str,
    pub dtype: Dtype,
    /// Numbers in the record.
    pub stored: usize,
    /// The first of them that is the tensor's.
    pub offset: usize,
    pub shape: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Value<'a> {
    None,
    Bool,
    Int(i64),
    Text(&'a str),
    /// An index into [`Machine::tuples`]. All that holds other values lies there, so that nothing is nested, and nothing recurses.
    Tuple(usize),
    /// An index into [`Machine::dicts`].
    Dict(usize),
    Global(Global),
    /// An index into [`Machine::storages`].
    Storage(usize),
    /// An index into [`Machine::tensors`].
    Tensor(usize),
    Mark,
}

/// The objects a state dict names.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    Storage(Dtype),
}

const GLOBALS: [(&str, &str, Global); 5] = [
    ("collections", "OrderedDict", Global::OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2", Global::RebuildTensor),
    ("torch", "FloatStorage", Global::Storage(Dtype::F32)),
    ("torch", "HalfStorage", Global::Storage(Dtype::F16)),
    ("torch", "BFloat16Storage", Global::Storage(Dtype::BF16)),
];

struct Storage<'a> {
    key: &'a str,
    dtype: Dtype,
    numbers: usize,
}

struct Tensor {
    storage: usize,
    offset: usize,
    shape: Vec<usize>,
    contiguous: bool,
}

/// Reads the tensors of a state dict, in their order.
///
/// # Errors
/// Whatever is not a state dict.
pub(crate) fn state_dict(bytes: &[u8]) -> Result<Vec<Stored<'_>>, PickleError> {
    if bytes.len() > LARGEST {
        return Err(PickleError::TooLarge { found: bytes.len() as u64, largest: LARGEST });
    }
    let mut machine = Machine { bytes, ..Machine::default() };
    let top = loop {
        machine.start = machine.at;
        let [code] = machine.take()?;
        if code == b'.' {
            break machine.pop()?;
        }
        machine.step(code)?;
    };
    let Value::Dict(top) = top else {
        return Err(PickleError::NoStateDict { found: "no dictionary".into() });
    };
    let mut stored = Vec::new();
    for (name, value) in &machine.dicts[top] {
        let Value::Text(name) = *name else {
            return Err(PickleError::NoStateDict { found: "an entry whose name is no text".into() });
        };
        let Value::Tensor(tensor) = *value else {
            return Err(PickleError::NoStateDict { found: format!("`{name}`, which is no tensor") });
        };
        let Tensor { storage, offset, ref shape, contiguous } = machine.tensors[tensor];
        let Storage { key, dtype, numbers } = machine.storages[storage];
        let wrong = |what| PickleError::Tensor { name: name.into(), what };
        if !contiguous {
            return Err(wrong("is not stored row by row; save it again with `.contiguous()`"));
        }
        let elements = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        let end = elements.and_then(|elements| elements.checked_add(offset));
        if end.is_none_or(|end| end > numbers) {
            return Err(wrong("is larger than what is stored for it"));
        }
        stored.push(Stored { name, key, dtype, stored: numbers, offset, shape: shape.clone() });
    }
    Ok(stored)
}

/// The names and shapes in a state dict's pickle: for `fuzz/`.
///
/// # Errors
/// Whatever is not a state dict.
#[doc(hidden)]
pub fn pickled_shapes(bytes: &[u8]) -> Result<Vec<(String, Vec<usize>)>, PickleError> {
    Ok(state_dict(bytes)?.into_iter().map(|stored| (stored.name.to_owned(), stored.shape)).collect())
}

/// The pickle of a state dict: for `fuzz/`.
#[doc(hidden)]
pub fn pickle_of(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    write_state_dict(tensors.iter().copied())
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the present instruction began.
    start: usize,
    stack: Vec<Value<'a>>,
    memo: HashMap<u32, Value<'a>>,
    tuples: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    storages: Vec<Storage<'a>>,
    tensors: Vec<Tensor>,
}

impl<'a> Machine<'a> {
    fn step(&mut self, code: u8) -> Result<(), PickleError> {
        match code {
            // PROTO
            0x80 => match self.take()? {
                [2] => {}
                _ => return Err(self.damaged("another protocol than 2")),
            },
            // GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let known = GLOBALS.iter().find(|known| (known.0, known.1) == (module, name));
                let known = known.ok_or_else(|| PickleError::Global { name: format!("{module}.{name}") })?;
                self.stack.push(Value::Global(known.2));
            }
            // MARK, NONE, NEWTRUE, NEWFALSE
            b'(' => self.stack.push(Value::Mark),
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool),
            // BININT1, BININT2, BININT, LONG1
            b'K' => self.number(|[a]: [u8; 1]| a.into())?,
            b'M' => self.number(|bytes| u16::from_le_bytes(bytes).into())?,
            b'J' => self.number(|bytes| i32::from_le_bytes(bytes).into())?,
            0x8a => {
                let [length] = self.take()?;
                let bytes = self.slice(length.into())?;
                if bytes.len() > 8 {
                    return Err(self.damaged("a number beyond 64 bits"));
                }
                let sign = if bytes.last().is_some_and(|&last| last >= 0x80) { 0xff } else { 0 };
                let mut wide = [sign; 8];
                wide[..bytes.len()].copy_from_slice(bytes);
                self.stack.push(Value::Int(i64::from_le_bytes(wide)));
            }
            // BINUNICODE
            b'X' => {
                let length = u32::from_le_bytes(self.take()?);
                let bytes = self.slice(length as usize)?;
                let text = std::str::from_utf8(bytes).map_err(|_| self.damaged("text that is not UTF-8"))?;
                self.stack.push(Value::Text(text));
            }
            // EMPTY_DICT
            b'}' => self.push_dict(),
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' => self.push_tuple(Vec::new()),
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let first = self.stack.len().checked_sub(count).ok_or_else(|| self.underflow())?;
                let items = self.stack.split_off(first);
                self.push_tuple(items);
            }
            b't' => {
                let items = self.since_mark()?;
                self.push_tuple(items);
            }
            // BINPUT, LONG_BINPUT, BINGET, LONG_BINGET
            b'q' => {
                let [index] = self.take()?;
                self.put(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.take()?);
                self.put(index)?;
            }
            b'h' => {
                let [index] = self.take()?;
                self.get(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.take()?);
                self.get(index)?;
            }
            // BINPERSID
            b'Q' => self.storage()?,
            // REDUCE
            b'R' => self.call()?,
            // BUILD: what a state dict says about the versions of its modules.
            b'b' => {
                self.pop()?;
                if !matches!(self.stack.last(), Some(Value::Dict(_))) {
                    return Err(self.damaged("attributes of what has none"));
                }
            }
            // SETITEM, SETITEMS
            b's' => {
                let value = self.pop()?;
                let name = self.pop()?;
                self.set(&[name, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(&items)?;
            }
            code => return Err(PickleError::Opcode { code, at: self.start }),
        }
        Ok(())
    }

    fn damaged(&self, what: &'static str) -> PickleError {
        PickleError::Damaged { at: self.start, what }
    }

    fn underflow(&self) -> PickleError {
        self.damaged("it takes more than there is")
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let end = self.at.checked_add(length).ok_or(PickleError::Truncated)?;
        let slice = self.bytes.get(self.at..end).ok_or(PickleError::Truncated)?;
        self.at = end;
        Ok(slice)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        self.slice(N)?.try_into().map_err(|_| PickleError::Truncated)
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or(PickleError::Truncated)?;
        let line =
            std::str::from_utf8(self.slice(length)?).map_err(|_| self.damaged("a name that is not UTF-8"))?;
        self.at += 1;
        Ok(line)
    }

    fn number<const N: usize>(&mut self, number: impl Fn([u8; N]) -> i64) -> Result<(), PickleError> {
        let bytes = self.take()?;
        self.stack.push(Value::Int(number(bytes)));
        Ok(())
    }

    fn pop(&mut self) -> Result<Value<'a>, PickleError> {
        match self.stack.pop() {
            Some(Value::Mark) | None => Err(self.underflow()),
            Some(value) => Ok(value),
        }
    }

    /// What was pushed since the last mark, which goes.
    fn since_mark(&mut self) -> Result<Vec<Value<'a>>, PickleError> {
        let mark = self.stack.iter().rposition(|value| *value == Value::Mark);
        let mark = mark.ok_or_else(|| self.damaged("a mark is missing"))?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn push_tuple(&mut self, items: Vec<Value<'a>>) {
        self.stack.push(Value::Tuple(self.tuples.len()));
        self.tuples.push(items);
    }

    fn push_dict(&mut self) {
        self.stack.push(Value::Dict(self.dicts.len()));
        self.dicts.push(Vec::new());
    }

    fn put(&mut self, index: u32) -> Result<(), PickleError> {
        let value = self.pop()?;
        self.stack.push(value);
        self.memo.insert(index, value);
        Ok(())
    }

    fn get(&mut self, index: u32) -> Result<(), PickleError> {
        let value = self.memo.get(&index).copied();
        self.stack.push(value.ok_or_else(|| self.damaged("it recalls what it never kept"))?);
        Ok(())
    }

    fn set(&mut self, items: &[Value<'a>]) -> Result<(), PickleError> {
        let Some(&Value::Dict(dict)) = self.stack.last() else {
            return Err(self.damaged("items of what is no dictionary"));
        };
        let (pairs, []) = items.as_chunks::<2>() else { return Err(self.damaged("a name without a value")) };
        self.dicts[dict].extend(pairs.iter().map(|[name, value]| (*name, *value)));
        Ok(())
    }

    fn tuple(&mut self) -> Result<Vec<Value<'a>>, PickleError> {
        match self.pop()? {
            Value::Tuple(index) => Ok(self.tuples[index].clone()),
            _ => Err(self.damaged("a tuple is expected")),
        }
    }

    /// `("storage", type, key, device, numbers)`
    fn storage(&mut self) -> Result<(), PickleError> {
        let items = self.tuple()?;
        let [
            Value::Text("storage"),
            Value::Global(Global::Storage(dtype)),
            Value::Text(key),
            Value::Text(_),
            Value::Int(numbers),
        ] = items[..]
        else {
            return Err(self.damaged("a storage is expected"));
        };
        let numbers = usize::try_from(numbers).map_err(|_| self.damaged("a negative length"))?;
        self.stack.push(Value::Storage(self.storages.len()));
        self.storages.push(Storage { key, dtype, numbers });
        Ok(())
    }

    fn call(&mut self) -> Result<(), PickleError> {
        let arguments = self.tuple()?;
        match (self.pop()?, &arguments[..]) {
            (Value::Global(Global::OrderedDict), []) => self.push_dict(),
            // Storage, offset, shape, strides, whether it wants a gradient, hooks.
            (
                Value::Global(Global::RebuildTensor),
                &[
                    Value::Storage(storage),
                    Value::Int(offset),
                    Value::Tuple(shape),
                    Value::Tuple(strides),
                    Value::Bool,
                    Value::Dict(_),
                ],
            ) => {
                let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
                let contiguous = is_contiguous(&shape, &strides);
                let offset = usize::try_from(offset).map_err(|_| self.damaged("a negative offset"))?;
                self.stack.push(Value::Tensor(self.tensors.len()));
                self.tensors.push(Tensor { storage, offset, shape, contiguous });
            }
            _ => return Err(self.damaged("a call that builds no tensor and no dictionary")),
        }
        Ok(())
    }

    fn sizes(&self, tuple: usize) -> Result<Vec<usize>, PickleError> {
        // One long tuple, recalled by many tensors, would fill the memory.
        if self.tuples[tuple].len() > MOST_AXES {
            return Err(self.damaged("a shape of too many axes"));
        }
        let size = |value: &Value<'_>| match *value {
            Value::Int(size) => usize::try_from(size).map_err(|_| self.damaged("a negative size")),
            _ => Err(self.damaged("a size that is no number")),
        };
        self.tuples[tuple].iter().map(size).collect()
    }
}

/// Whether the strides are those of rows that follow one another. The stride of an axis of length 1 says nothing.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    if shape.len() != strides.len() {
        return false;
    }
    let mut expected = Some(1usize);
    shape.iter().zip(strides).rev().all(|(&side, &stride)| {
        let fits = side == 1 || expected == Some(stride);
        expected = expected.and_then(|expected| expected.checked_mul(side));
        fits
    })
}

/// The pickle of a state dict whose tensor number `i` lies whole in the storage of key `i`, as F32.
pub(crate) fn write_state_dict<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize])>) -> Vec<u8> {
    const ORDERED_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";
    let mut out = b"\x80\x02".to_vec();
    out.extend(ORDERED_DICT);
    out.push(b'(');
    for (index, (name, shape)) in tensors.enumerate() {
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(b"ctorch\nFloatStorage\n");
        text(&mut out, &index.to_string());
        text(&mut out, "cpu");
        number(&mut out, shape.iter().product());
        out.extend(b"tQK\0(");
        shape.iter().for_each(|&side| number(&mut out, side));
        out.extend(b"t(");
        (0..shape.len()).for_each(|axis| number(&mut out, shape[axis + 1..].iter().product()));
        out.extend(b"t\x89");
        out.extend(ORDERED_DICT);
        out.extend(b"tR");
    }
    out.extend(b"u.");
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

/// As LONG1 of 64 bits; no size of a tensor has the highest one set.
fn number(out: &mut Vec<u8>, number: usize) {
    out.extend([0x8a, 8]);
    out.extend((number as u64).to_le_bytes());
}

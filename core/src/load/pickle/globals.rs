//! The names that a pickle may refer to. None is looked up anywhere else: a name stands for a value of [`Global`].

use super::error::PickleError;
use crate::load::header::Dtype;

/// The meaning of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks[, metadata])`.
    Tensor,
    /// `_rebuild_tensor_v3`: the same with the type of the elements after the hooks.
    TypedTensor,
    /// `_rebuild_parameter(tensor, requires_grad, hooks)`.
    Parameter,
    /// The class of a storage, with the type of its elements; `None` for bytes.
    Storage(Option<Dtype>),
    /// The type of a tensor's elements.
    Dtype(Dtype),
    /// A name of a value that is ignored, whatever it is called with.
    Ignored,
}

const I8: Dtype = Dtype::Other("I8", 1);
const U8: Dtype = Dtype::Other("U8", 1);
const I16: Dtype = Dtype::Other("I16", 2);
const U16: Dtype = Dtype::Other("U16", 2);
const I32: Dtype = Dtype::Other("I32", 4);
const U32: Dtype = Dtype::Other("U32", 4);
const I64: Dtype = Dtype::Other("I64", 8);
const U64: Dtype = Dtype::Other("U64", 8);
const BOOL: Dtype = Dtype::Other("BOOL", 1);
const E4M3: Dtype = Dtype::Other("F8_E4M3", 1);
const E5M2: Dtype = Dtype::Other("F8_E5M2", 1);

/// All names, by module. The last ones are those of training states in published checkpoints of Stable Diffusion; the
/// values that they stand for are not needed.
const GLOBALS: [(&str, &str, Global); 44] = [
    ("collections", "OrderedDict", Global::OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2", Global::Tensor),
    ("torch._utils", "_rebuild_tensor_v3", Global::TypedTensor),
    ("torch._utils", "_rebuild_parameter", Global::Parameter),
    ("torch.storage", "UntypedStorage", Global::Storage(None)),
    ("torch.storage", "_UntypedStorage", Global::Storage(None)),
    ("torch", "UntypedStorage", Global::Storage(None)),
    ("torch", "DoubleStorage", Global::Storage(Some(Dtype::F64))),
    ("torch", "FloatStorage", Global::Storage(Some(Dtype::F32))),
    ("torch", "HalfStorage", Global::Storage(Some(Dtype::F16))),
    ("torch", "BFloat16Storage", Global::Storage(Some(Dtype::Bf16))),
    ("torch", "LongStorage", Global::Storage(Some(I64))),
    ("torch", "IntStorage", Global::Storage(Some(I32))),
    ("torch", "ShortStorage", Global::Storage(Some(I16))),
    ("torch", "CharStorage", Global::Storage(Some(I8))),
    ("torch", "ByteStorage", Global::Storage(Some(U8))),
    ("torch", "BoolStorage", Global::Storage(Some(BOOL))),
    ("torch", "float64", Global::Dtype(Dtype::F64)),
    ("torch", "float32", Global::Dtype(Dtype::F32)),
    ("torch", "float16", Global::Dtype(Dtype::F16)),
    ("torch", "bfloat16", Global::Dtype(Dtype::Bf16)),
    ("torch", "int64", Global::Dtype(I64)),
    ("torch", "int32", Global::Dtype(I32)),
    ("torch", "int16", Global::Dtype(I16)),
    ("torch", "int8", Global::Dtype(I8)),
    ("torch", "uint64", Global::Dtype(U64)),
    ("torch", "uint32", Global::Dtype(U32)),
    ("torch", "uint16", Global::Dtype(U16)),
    ("torch", "uint8", Global::Dtype(U8)),
    ("torch", "bool", Global::Dtype(BOOL)),
    ("torch", "float8_e4m3fn", Global::Dtype(E4M3)),
    ("torch", "float8_e5m2", Global::Dtype(E5M2)),
    ("torch", "Size", Global::Ignored),
    ("torch", "device", Global::Ignored),
    ("_codecs", "encode", Global::Ignored),
    ("__builtin__", "set", Global::Ignored),
    ("builtins", "set", Global::Ignored),
    ("numpy", "dtype", Global::Ignored),
    ("numpy.core.multiarray", "scalar", Global::Ignored),
    ("numpy._core.multiarray", "scalar", Global::Ignored),
    ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint", Global::Ignored),
    ("pytorch_lightning.utilities.parsing", "AttributeDict", Global::Ignored),
    ("omegaconf.listconfig", "ListConfig", Global::Ignored),
    ("omegaconf.dictconfig", "DictConfig", Global::Ignored),
];

/// Returns the meaning of the name `module.name`.
pub(super) fn find(module: &str, name: &str) -> Result<Global, PickleError> {
    let known = GLOBALS.iter().find(|(in_module, known, _)| (*in_module, *known) == (module, name));
    known.map(|&(_, _, global)| global).ok_or_else(|| refused(module, name))
}

/// Returns the error for any other name.
pub(super) fn refused(module: &str, name: &str) -> PickleError {
    let (module, name) = (module.escape_debug(), name.escape_debug());
    PickleError::unsupported(format!(
        "got {module}.{name}, expected tensors, dictionaries, lists, numbers and texts only; nothing was executed"
    ))
}

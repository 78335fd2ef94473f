//! Pickled files, as torch wrote them before version 1.6, with the tensors of safetensors files.

use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

/// torch's number at the start, and the version of the layout, each as a pickle.
const HEAD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.";

/// Writes the tensors of the safetensors file `from` into the pickled file `to`.
///
/// # Panics
///
/// Where a file cannot be read or written, or a tensor has another type than F16, BF16 and F32.
pub fn pickle(from: &Path, to: &Path) {
    let bytes = fs::read(from).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut out = HEAD.to_vec();
    let mut keys = b"\x80\x02](".to_vec();
    let mut data = Vec::new();
    out.extend(b"\x80\x02}.\x80\x02}(");
    for (index, (name, tensor)) in file.tensors().into_iter().enumerate() {
        let classes =
            [(Dtype::F32, "FloatStorage", 4), (Dtype::F16, "HalfStorage", 2), (Dtype::BF16, "BFloat16Storage", 2)];
        let found = classes.into_iter().find(|(dtype, ..)| *dtype == tensor.dtype());
        let (_, class, width) = found.unwrap_or_else(|| panic!("{name} is {:?}", tensor.dtype()));
        let (key, elements) = (index.to_string(), tensor.data().len() / width);
        let strides: Vec<usize> =
            (1..=tensor.shape().len()).map(|axis| tensor.shape()[axis..].iter().product()).collect();
        out.extend(text(&name));
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        out.extend([text("storage"), format!("ctorch\n{class}\n").into(), text(&key), text("cpu")].concat());
        out.extend([number(elements), b"NtQK\0".to_vec(), sizes(tensor.shape()), sizes(&strides)].concat());
        out.extend(b"\x89NtR");
        keys.extend(text(&key));
        data.extend([&(elements as u64).to_le_bytes()[..], tensor.data()].concat());
    }
    out.extend([b"u.", &keys[..], b"e.", &data].concat());
    fs::write(to, out).unwrap();
}

/// Replaces every safetensors file in and below `folder` by a pickled one, with the name that diffusers and transformers
/// give it.
///
/// # Panics
///
/// Where a file cannot be read, written or removed.
pub fn pickle_all(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pickle_all(&path);
        } else if path.extension().is_some_and(|ending| ending == "safetensors") {
            let to = path.with_extension("bin");
            let of_transformers = path.file_stem().is_some_and(|stem| stem == "model");
            pickle(&path, &if of_transformers { to.with_file_name("pytorch_model.bin") } else { to });
            fs::remove_file(&path).unwrap();
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn number(number: usize) -> Vec<u8> {
    [b"\x8a\x08", &(number as u64).to_le_bytes()[..]].concat()
}

fn sizes(sizes: &[usize]) -> Vec<u8> {
    [b"(".to_vec(), sizes.iter().flat_map(|&size| number(size)).collect(), b"t".to_vec()].concat()
}

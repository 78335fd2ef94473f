//! Files that targets make for others to read.

use std::fmt::Write as _;

/// Returns a safetensors file with tensors of these names and shapes: half-precision zeros.
pub(crate) fn safetensors<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Vec<u8> {
    let (mut header, mut end) = (String::from("{"), 0_usize);
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let comma = if start == 0 && header.len() == 1 { "" } else { "," };
        let name = serde_json::Value::from(name);
        // The form of a list of numbers is JSON. Writing to a `String` cannot fail.
        let _ =
            write!(header, "{comma}{name}:{{\"dtype\":\"F16\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}");
    }
    header.push('}');
    // Memory of zeros from the start is not written, as it would be if it was appended: only what is read costs time.
    let mut file = vec![0; 8 + header.len() + end];
    let (length, rest) = file.split_at_mut(8);
    length.copy_from_slice(&(header.len() as u64).to_le_bytes());
    rest[..header.len()].copy_from_slice(header.as_bytes());
    file
}

#[cfg(test)]
mod tests {
    use dreamframe::load::WeightFiles;
    use dreamframe::net::WeightSource as _;

    use super::*;

    #[test]
    fn files_have_the_tensors_they_are_made_of() {
        let tensors: [(&str, &[usize]); 3] = [("a \"name\"\n", &[]), ("empty", &[2, 0]), ("matrix", &[3, 2])];
        let file = WeightFiles::from_bytes("file", safetensors(tensors)).unwrap();
        for (name, shape) in tensors {
            assert_eq!(file.shape(name).as_deref(), Some(shape), "{name}");
        }
        assert_eq!(file.read("matrix", &[3, 2]).unwrap(), [0.0; 6]);
        assert_eq!(WeightFiles::from_bytes("file", safetensors([])).unwrap().names().count(), 0);
    }
}

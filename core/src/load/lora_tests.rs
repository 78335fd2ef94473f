//! LoRA files as written by trainers, and invalid ones.

use std::collections::HashMap;
use std::path::Path;

use super::lora::LoraFile;
use crate::error::{Error, ErrorKind};

/// Returns a safetensors file of `f32`s that count up from 1.
fn file(tensors: &[(&str, &[usize])], metadata: &str) -> Vec<u8> {
    file_of(tensors, metadata, &|i| i as f32 + 1.0)
}

/// Returns a safetensors file of tensors with `number` at each place.
pub(crate) fn file_of(tensors: &[(&str, &[usize])], metadata: &str, number: &dyn Fn(usize) -> f32) -> Vec<u8> {
    let mut data = Vec::new();
    let mut entries = vec![format!("\"__metadata__\":{{{metadata}}}")];
    for (name, shape) in tensors {
        let begin = data.len();
        (0..shape.iter().product::<usize>()).for_each(|i| data.extend(number(i).to_le_bytes()));
        let end = data.len();
        entries.push(format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[{begin},{end}]}}"));
    }
    let header = format!("{{{}}}", entries.join(","));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn read(tensors: &[(&str, &[usize])]) -> Result<LoraFile, Error> {
    LoraFile::from_bytes("file", file(tensors, ""))
}

/// Returns the changes that the layers add to zeros.
fn sums(file: &LoraFile) -> HashMap<&str, Vec<f32>> {
    let sum = |change: &crate::net::LowRank| {
        let mut weight = vec![0.0; change.shape().iter().product()];
        change.add_to(&mut weight, 1.0);
        weight
    };
    file.layers.iter().map(|layer| (&*layer.name, sum(&layer.change))).collect()
}

#[test]
fn alpha_divided_by_the_rank_is_the_strength_and_one_without() {
    let file = read(&[
        ("a.lora_down.weight", &[2, 1]),
        ("a.lora_up.weight", &[1, 2]),
        ("a.alpha", &[]),
        ("b.lora_A.weight", &[2, 1]),
        ("b.lora_B.weight", &[1, 2]),
        ("c.alpha", &[]),
        ("emb_params", &[3]),
    ]);
    let file = file.unwrap();
    assert_eq!(sums(&file), HashMap::from([("a", vec![2.5]), ("b", vec![5.0])]));
    assert_eq!(file.unknown, ["c.alpha", "emb_params"]);
}

#[test]
fn alpha_of_the_header_is_used() {
    let tensors: [(&str, &[usize]); 2] = [("unet.b.lora_A.weight", &[2, 1]), ("unet.b.lora_B.weight", &[1, 2])];
    let metadata = r#""lora_adapter_metadata":"{\"unet.lora_alpha\": 4}""#;
    let file = LoraFile::from_bytes("file", file(&tensors, metadata)).unwrap();
    assert_eq!(sums(&file)["unet.b"], [10.0]);
}

#[test]
fn a_convolution_in_three_steps_is_one_in_two() {
    let file = read(&[
        ("a.lora_down.weight", &[2, 3, 1, 1]),
        ("a.lora_mid.weight", &[2, 2, 3, 3]),
        ("a.lora_up.weight", &[2, 2, 1, 1]),
    ]);
    let file = file.unwrap();
    assert_eq!(file.layers[0].change.shape(), [2, 3, 3, 3]);
    let got = &sums(&file)["a"];
    let number = |shape: [usize; 4], at: [usize; 4]| {
        at.iter().zip(shape).fold(0, |place, (at, dim)| place * dim + at) as f32 + 1.0
    };
    for (i, got) in got.iter().enumerate() {
        let (out, channel, tap) = (i / 27, i / 9 % 3, i % 9);
        let mut sum = 0.0;
        for (r, inner) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            sum += number([2, 2, 1, 1], [out, r, 0, 0])
                * number([2, 2, 3, 3], [r, inner, tap / 3, tap % 3])
                * number([2, 3, 1, 1], [inner, channel, 0, 0]);
        }
        assert_eq!(*got, sum);
    }
}

#[test]
fn the_file_of_a_folder_is_found_by_its_name_or_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let lora = |name: &str| {
        let (down, up) = (format!("{name}.lora_A.weight"), format!("{name}.lora_B.weight"));
        file(&[(&down, &[2, 1]), (&up, &[1, 2])], "")
    };
    let layer = |path: &Path| LoraFile::read(path).map(|file| file.layers[0].name.clone());
    assert_eq!(layer(folder.path()).unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::write(path("pytorch_lora_weights.bin"), "").unwrap();
    assert_eq!(layer(folder.path()).unwrap_err().kind(), ErrorKind::BadModel);
    let pickled = include_bytes!("../../../tests/golden/pickle/lora.bin");
    std::fs::write(path("pytorch_lora_weights.bin"), pickled).unwrap();
    let read = LoraFile::read(folder.path()).unwrap();
    assert!(read.layers[0].name.starts_with("unet.a") && read.notice.is_some(), "{read:?}");
    std::fs::write(path("style.safetensors"), lora("style")).unwrap();
    assert_eq!(layer(folder.path()).unwrap(), "style");
    std::fs::write(path("other.safetensors"), lora("other")).unwrap();
    let error = layer(folder.path()).unwrap_err();
    assert!(error.to_string().contains("got several") && error.to_string().contains("other.safetensors"), "{error}");
    assert_eq!(layer(&path("other.safetensors")).unwrap(), "other");
    std::fs::write(path("adapter_model.safetensors"), lora("peft")).unwrap();
    std::fs::write(path("adapter_config.json"), r#"{"peft_type": "LORA", "lora_alpha": 6}"#).unwrap();
    let read = LoraFile::read(folder.path()).unwrap();
    assert_eq!(sums(&read), HashMap::from([("peft", vec![15.0])]));
    std::fs::write(path("adapter_config.json"), "{").unwrap();
    assert_eq!(layer(folder.path()).unwrap_err().kind(), ErrorKind::BadModel);
}

proptest::proptest! {
    #[test]
    fn a_changed_byte_never_makes_the_reader_panic(place in 0_usize.., value: u8) {
        let mut bytes = file(&[("a.lora_down.weight", &[2, 3]), ("a.lora_up.weight", &[4, 2]), ("a.alpha", &[])], "");
        let place = place % bytes.len();
        bytes[place] = value;
        let _ = LoraFile::from_bytes("file", bytes);
    }
}

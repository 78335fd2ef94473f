use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::tensor::{Dtype as FileDtype, TensorView};

use super::*;

/// Returns a safetensors file as the `safetensors` crate writes it.
fn file(tensors: &[(&str, FileDtype, &[usize], &[u8])]) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name.to_string(), TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap()
}

fn f32_file(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let zeros = vec![0; 4096];
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, shape)| (*name, FileDtype::F32, *shape, &zeros[..4 * shape.iter().product::<usize>()]))
        .collect();
    file(&tensors)
}

fn weights(tensors: &[(&str, &[usize])]) -> WeightFiles {
    WeightFiles::from_bytes("test.safetensors", f32_file(tensors)).unwrap()
}

fn spec(name: &str, shape: &[usize]) -> WeightSpec {
    WeightSpec { name: name.into(), shape: shape.into() }
}

proptest! {
    #[test]
    fn numbers_come_back_in_every_type(numbers in proptest::collection::vec(-6e4_f32..6e4, 1..70)) {
        let f32s: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let f64s: Vec<u8> = numbers.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
        let f16s: Vec<u8> = numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        let bf16s: Vec<u8> = numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        let shape = [numbers.len()];
        let bytes = file(&[
            ("single", FileDtype::F32, &shape, &f32s),
            ("double", FileDtype::F64, &shape, &f64s),
            ("half", FileDtype::F16, &shape, &f16s),
            ("brain", FileDtype::BF16, &shape, &bf16s),
        ]);
        let weights = WeightFiles::from_bytes("test", bytes).unwrap();
        let read = |name: &str| weights.read(name, &shape).unwrap();
        prop_assert_eq!(&read("single"), &numbers);
        prop_assert_eq!(&read("double"), &numbers);
        let halves: Vec<f32> = numbers.iter().map(|x| f16::from_f32(*x).to_f32()).collect();
        prop_assert_eq!(read("half"), halves);
        let brains: Vec<f32> = numbers.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
        prop_assert_eq!(read("brain"), brains);
    }
}

#[test]
fn a_tensor_longer_than_a_chunk_is_whole() {
    let numbers: Vec<f32> = (0..200_000).map(|i| i as f32).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let bytes = file(&[("long", FileDtype::F32, &[400, 500], &bytes)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let weights = WeightFiles::single("model".into(), Bytes::open(&path).unwrap()).unwrap();
    assert_eq!(weights.read("long", &[400, 500]).unwrap(), numbers);
}

#[test]
fn weights_are_found_by_their_older_names() {
    let weights = weights(&[("mid_block.attentions.0.query.weight", &[4, 4, 1, 1]), ("encoder.layers.0.bias", &[2])]);
    assert!(weights.read("mid_block.attentions.0.to_q.weight", &[4, 4]).is_ok());
    assert!(weights.read("text_model.encoder.layers.0.bias", &[2]).is_ok());
}

#[test]
fn a_missing_or_misshapen_weight_is_named() {
    let weights = weights(&[("a", &[2, 3])]);
    let error = weights.read("b", &[2]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadModel);
    assert_eq!(error.to_string(), "tensor \"b\": missing in test.safetensors");
    let error = weights.read("a", &[3, 2]).unwrap_err();
    assert_eq!(error.to_string(), "test.safetensors: tensor \"a\": got shape [2, 3], expected [3, 2]");
}

#[test]
fn check_lists_missing_misshapen_and_unused_weights() {
    let weights = weights(&[
        ("a", &[2]),
        ("b", &[2]),
        ("text_model.embeddings.position_ids", &[1]),
        ("up.attentions.0.proj_attn.weight", &[2, 2]),
        ("z", &[1]),
    ]);
    let specs = [spec("a", &[2]), spec("b", &[3]), spec("up.attentions.0.to_out.0.weight", &[2, 2]), spec("c", &[1])];
    let check = weights.check(&specs);
    assert_eq!(check.missing, ["c"]);
    assert_eq!(check.misshapen, ["tensor \"b\": got shape [2], expected [3]"]);
    assert_eq!(check.unused, ["z"]);
    let error = check.require().unwrap_err();
    assert!(
        error.to_string().starts_with("1 weights are missing: c; 1 weights have another shape: tensor \"b\""),
        "{error}"
    );
}

#[test]
fn long_lists_are_cut_and_counted() {
    let check = WeightCheck { missing: (0..100).map(|i| format!("w{i}")).collect(), ..Default::default() };
    let error = check.require().unwrap_err();
    assert_eq!(error.to_string(), "100 weights are missing: w0, w1, w2, w3, w4 and 95 more");
}

#[test]
fn shards_are_one_network() {
    let index = r#"{"metadata": {}, "weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}}"#;
    let weights = WeightFiles::sharded("index", index.as_bytes(), |shard| {
        let name = if shard == "x-1.safetensors" { "a" } else { "b" };
        Ok((shard.to_owned(), Bytes::Owned(f32_file(&[(name, &[3])]).into())))
    })
    .unwrap();
    assert!(weights.read("a", &[3]).is_ok() && weights.read("b", &[3]).is_ok());
    assert_eq!(weights.check(&[spec("a", &[3]), spec("b", &[3])]), WeightCheck::default());
}

#[test]
fn a_header_as_long_as_a_pickle_s_mark_is_read() {
    let names = (1..512).map(|len| ("x".repeat(len), "y".repeat(len)));
    let marked = names.map(|(x, y)| f32_file(&[("a", &[1]), (&x, &[1]), (&y, &[1])]));
    let mut marked = marked.filter(|bytes| bytes[..2] == [0x80, 2]);
    let weights = WeightFiles::from_bytes("test", marked.next().unwrap()).unwrap();
    assert!(weights.read("a", &[1]).is_ok());
}

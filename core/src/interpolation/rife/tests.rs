//! Pictures by networks of the reference data, compared with those of torch.

use std::collections::BTreeMap;

use super::*;
use crate::load::{ModelSource, WeightFiles};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/rife");
const SIZE: (usize, usize) = (36, 20);
/// The networks of the reference data, and what their sides are multiples of.
const NETWORKS: [(&str, usize); 8] = [
    ("v4.6", 32),
    ("v4.7", 32),
    ("v4.10", 32),
    ("v4.15", 32),
    ("v4.22", 32),
    ("v4.25", 64),
    ("v4.25.lite", 128),
    ("v4.26.heavy", 64),
];

/// Returns the weights of a network of the reference data.
pub(in crate::interpolation) fn weights(name: &str) -> Arc<WeightFiles> {
    let id = format!("{name}.safetensors").parse().unwrap();
    Arc::new(ModelSource::folder(FOLDER).file_or_weights(&id, "").unwrap())
}

/// Returns the pictures of the reference data by name.
fn golden() -> BTreeMap<String, Image> {
    let bytes = std::fs::read(format!("{FOLDER}/golden.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let picture = |name: &str| {
        let numbers = tensors.tensor(name).unwrap();
        let numbers = numbers.data().as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect();
        (name.to_owned(), Image::from_pixels(SIZE.0, SIZE.1, 3, numbers).unwrap())
    };
    tensors.names().into_iter().map(picture).collect()
}

fn apart(one: &Image, other: &Image) -> f32 {
    assert!(one.same_size(other));
    one.pixels().iter().zip(other.pixels()).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

#[test]
fn pictures_between_two_match_torch_in_every_layout() {
    let golden = golden();
    let pictures = ["older", "newer"].map(|name| &golden[name]);
    let mut compared = 0;
    for (name, step) in NETWORKS {
        let rife = Rife::new(weights(name), SIZE).unwrap();
        assert_eq!(rife.config.step(), step, "{name}");
        let (mut run, mut made) = (RifeRun::new(Arc::new(rife)), Image::new());
        for time in [0.25, 0.5] {
            let Some(expected) = golden.get(&format!("{name}.{time}")) else { continue };
            run.picture(pictures, time, &mut made).unwrap();
            assert!(pictures.iter().all(|picture| apart(picture, expected) > 0.1), "{name} at {time}");
            let apart = apart(&made, expected);
            assert!(apart <= 1e-4, "{name} at {time}: {apart}");
            compared += 1;
        }
    }
    assert_eq!(compared + pictures.len(), golden.len());
}

#[test]
fn the_features_of_the_newer_picture_are_those_of_the_older_one_later() {
    let golden = golden();
    let rife = Arc::new(Rife::new(weights("v4.25"), SIZE).unwrap());
    let (one, other) = (&golden["older"], &golden["newer"]);
    let (mut known, mut new) = (RifeRun::new(rife.clone()), RifeRun::new(rife));
    let [mut first, mut second, mut expected] = [Image::new(), Image::new(), Image::new()];
    known.picture([one, other], 0.5, &mut first).unwrap();
    known.picture([one, other], 0.25, &mut first).unwrap();
    known.advance();
    known.picture([other, one], 0.5, &mut second).unwrap();
    new.picture([other, one], 0.5, &mut expected).unwrap();
    assert!(second == expected && second != first);
    let runs = |run: &RifeRun| run.encoder.as_ref().unwrap().evaluations();
    assert_eq!((runs(&known), runs(&new)), (3, 2));
}

/// The weights of a network, except for one.
#[derive(Debug)]
struct Changed {
    weights: Arc<WeightFiles>,
    name: &'static str,
    shape: Option<Vec<usize>>,
}

impl WeightSource for Changed {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        if name == self.name { self.shape.clone() } else { self.weights.shape(name) }
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.weights.read(name, shape)
    }
}

#[test]
fn weights_of_other_networks_are_rejected() {
    let cases: [(&str, &'static str, Option<&[usize]>, &str); 8] = [
        ("v4.6", "module.block0.conv0.0.0.weight", None, "tensor \"block0.conv0.0.0.weight\": missing"),
        ("v4.7", "block2.conv0.1.0.weight", None, "blocks: got 2, expected 4 or 5"),
        ("v4.7", "block0.lastconv.0.weight", None, "tensor \"block0.lastconv.0.weight\": missing"),
        ("v4.7", "block0.lastconv.0.weight", Some(&[8, 16, 4, 4]), "block 0 outputs besides 5 of 4"),
        ("v4.7", "block1.conv0.0.0.weight", Some(&[3, 12, 3, 3]), "channels of block 1: got 12, expected 20"),
        ("v4.7", "encode.1.weight", Some(&[6, 5, 4, 4]), "features: got 5, expected 4, 8 or 16"),
        ("v4.7", "block3.conv0.1.0.weight", Some(&[4, 2]), "got shape [4, 2], expected 4 dimensions"),
        // Its residual convolutions have another number of channels.
        ("v4.7", "block3.conv0.1.0.weight", Some(&[6, 2, 3, 3]), "block3"),
    ];
    for (network, name, shape, part) in cases {
        let shape = shape.map(<[usize]>::to_vec);
        let changed = Changed { weights: weights(network), name, shape };
        let refused = Rife::new(Arc::new(changed), SIZE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BadModel, "{refused}");
        assert!(refused.to_string().contains(part), "{refused}");
    }
    let flow = format!("{FOLDER}/../flow/models");
    let flow = ModelSource::folder(flow)
        .weights(&"torchvision/raft_small".parse().unwrap(), "raft_small_C_T_V2-01064c6d.safetensors");
    assert_eq!(Rife::new(Arc::new(flow.unwrap()), SIZE).unwrap_err().kind(), ErrorKind::BadModel);
}

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::super::header::Dtype;
use super::*;

const TABLES: [&str; 3] = [
    include_str!("../../../../tests/golden/single/sd15.json"),
    include_str!("../../../../tests/golden/single/sd21.json"),
    include_str!("../../../../tests/golden/single/sdxl.json"),
];

/// Names and shapes of a tiny checkpoint in one file, as long as the tensors of the folder.
fn shapes(table: &str) -> BTreeMap<String, Vec<usize>> {
    let table: Value = serde_json::from_str(table).unwrap();
    let rows = table["tensors"].as_object().unwrap().values().flat_map(|part| part.as_object().unwrap());
    rows.map(|(name, row)| {
        let mut shape: Vec<usize> = serde_json::from_value(row[1].clone()).unwrap();
        match row[0].as_str().unwrap() {
            "stack" => shape[0] *= 3,
            "transpose" => shape.reverse(),
            "conv" => shape.extend([1, 1]),
            _ => {}
        }
        (name.clone(), shape)
    })
    .collect()
}

fn tensors(shapes: &BTreeMap<String, Vec<usize>>) -> HashMap<String, Tensor> {
    let tensor = |shape: &Vec<usize>| {
        let len = shape.iter().product::<usize>() as u64 * 2;
        Tensor { dtype: Dtype::F16, shape: shape.clone(), start: 0, len, strides: None, transposed: false }
    };
    shapes.iter().map(|(name, shape)| (name.clone(), tensor(shape))).collect()
}

#[test]
fn the_name_of_a_checkpoint_says_that_it_predicts_the_clean_sample() {
    assert_eq!(prediction_type("sdxl_lightning_1step_x0"), "sample");
    assert_eq!(["sdxl_lightning_4step", "x0_model", ""].map(prediction_type), ["epsilon"; 3]);
}

#[test]
fn families_are_recognised_by_names_and_shapes() {
    let found = TABLES.map(|table| family_of(&tensors(&shapes(table))).unwrap());
    assert_eq!(found, [ModelFamily::Sd15, ModelFamily::Sd21, ModelFamily::Sdxl]);
}

#[test]
fn layers_of_a_full_size_encoder_are_counted_as_the_unet_was_trained() {
    let counted = |width: usize, layers: usize| {
        let mut shapes = BTreeMap::from([
            ("cond_stage_model.model.token_embedding.weight".to_owned(), vec![49408, width]),
            ("cond_stage_model.model.positional_embedding".to_owned(), vec![77, width]),
        ]);
        for layer in 0..layers {
            let name = format!("cond_stage_model.model.transformer.resblocks.{layer}.mlp.c_fc.weight");
            shapes.insert(name, vec![4 * width, width]);
        }
        let part = text::open_clip(OPEN_CLIP, false, &tensors(&shapes)).unwrap();
        part.config["num_hidden_layers"].as_u64().unwrap()
    };
    assert_eq!(counted(1024, 24), 23);
    // Converted from a diffusers folder, which has only the layers that are used.
    assert_eq!(counted(1024, 23), 23);
    assert_eq!(counted(64, 4), 3);
}

#[test]
fn the_oldest_names_of_a_text_encoder_are_found() {
    let part = |prefix: &str| {
        let shapes = shapes(TABLES[0]).into_iter().filter_map(|(name, shape)| {
            Some((format!("{CLIP}{prefix}{}", name.strip_prefix(CLIP)?.strip_prefix("text_model.")?), shape))
        });
        text::clip(CLIP, &tensors(&shapes.collect())).unwrap()
    };
    let (old, new) = (part(""), part("text_model."));
    assert_eq!(old.config, new.config);
    assert_eq!(old.tensors, new.tensors);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_names_and_shapes_make_the_telling_panic(
        table in 0..TABLES.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0..4_usize, 0..200_usize), 1..6),
    ) {
        let mut shapes = shapes(TABLES[table]);
        for (which, what, size) in changes {
            let names: Vec<String> = shapes.keys().cloned().collect();
            let name = &names[which.index(names.len())];
            match what {
                0 => drop(shapes.remove(name)),
                1 => drop(shapes.insert(name.clone(), Vec::new())),
                2 => {
                    let prefix: String = name.chars().take(size).collect();
                    shapes.retain(|name, _| !name.starts_with(&prefix));
                }
                _ => {
                    if let Some(first) = shapes.get_mut(name).and_then(|shape| shape.first_mut()) {
                        *first = size;
                    }
                }
            }
            if shapes.is_empty() {
                break;
            }
        }
        let tensors = tensors(&shapes);
        let _ = family_of(&tensors).and_then(|family| parts(family, &tensors));
    }
}

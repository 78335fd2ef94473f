//! Packed forms of an earlier process: they are used if they match.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::super::Isa;
use super::naive::GeneratedWeights;
use super::{bits, executor, frame, run};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Executor;
use crate::net::{
    AlignedBytes, Forms, PackedLayout, PackedStore, Parallel, Program, ProgramBuilder, Rate, Sections, Shape,
    WeightSource, Weights,
};

/// A store in memory, shared by its clones.
#[derive(Debug, Default, Clone)]
struct MemoryStore(Arc<Mutex<HashMap<String, Vec<Vec<u8>>>>>);

impl PackedStore for MemoryStore {
    fn load(&self, _layout: &PackedLayout, parallel: Parallel<'_>) -> (Sections, Vec<String>) {
        let store = self.0.lock().unwrap();
        let called = AtomicUsize::new(0);
        parallel(store.len(), &|_| {
            called.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(called.into_inner(), store.len());
        let aligned = |bytes: &Vec<u8>| {
            let mut aligned = AlignedBytes::zeros(bytes.len()).unwrap();
            aligned.copy_from_slice(bytes);
            aligned
        };
        (store.iter().map(|(key, parts)| (key.clone(), parts.iter().map(aligned).collect())).collect(), Vec::new())
    }

    fn save(&self, _layout: &PackedLayout, sections: &[(&str, Vec<&[u8]>)], _: usize) -> Vec<String> {
        let owned = |parts: &[&[u8]]| parts.iter().map(|part| part.to_vec()).collect();
        *self.0.lock().unwrap() = sections.iter().map(|(key, parts)| ((*key).to_owned(), owned(parts))).collect();
        Vec::new()
    }
}

/// Weights that must not be read.
struct Forbidden;

impl WeightSource for Forbidden {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        GeneratedWeights.shape(name)
    }

    fn read(&self, name: &str, _shape: &[usize]) -> Result<Vec<f32>> {
        Err(Error::new(ErrorKind::Internal, format!("{name} was read")))
    }
}

/// One product of every form, both norms and both kinds of small weights.
fn program() -> Arc<Program> {
    let mut builder = ProgramBuilder::new("forms");
    let x = frame(&mut builder, Shape::new(1, 6, 6, 16));
    let y = builder.conv3x3("wide", x, 45);
    let y = builder.conv1x1("point", y, 32);
    let y = builder.group_norm("norm", y, 4, 1e-5);
    let y = builder.upsample(y);
    let y = builder.conv3x3("phases", y, 32);
    let narrow = builder.conv3x3("narrow", y, 3);
    builder.output("narrow", narrow);
    let ids = builder.input("ids7", Shape::tokens(1, 5, 1), Rate::Frame);
    let z = builder.embed("words", ids, 7, 16);
    let z = builder.add_weight("places", z, 9);
    let z = builder.layer_norm("layer", z, 1e-5);
    let z = builder.linear("gates", z, 40, true);
    let z = builder.geglu(z);
    builder.output("text", z);
    Arc::new(builder.finish().unwrap())
}

fn weights(source: impl WeightSource + 'static, store: &MemoryStore) -> Weights {
    Weights::over(Arc::new(Forms::new(Arc::new(source), Some(Box::new(store.clone())))))
}

#[test]
fn stored_forms_give_the_same_bits_without_reading_the_source() {
    let program = program();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let store = MemoryStore::default();
        let fresh = weights(GeneratedWeights, &store);
        let first = run(&*executor(isa, 2).compile(&program, &fresh).unwrap());
        fresh.save();
        let kept = weights(Forbidden, &store);
        let second = run(&*executor(isa, 2).compile(&program, &kept).unwrap());
        assert_eq!(bits(&first), bits(&second), "{isa:?}");
    }
}

#[test]
fn stored_buffers_of_a_wrong_length_or_count_are_packed_again() {
    let program = program();
    let isa = Isa::Portable;
    let store = MemoryStore::default();
    let fresh = weights(GeneratedWeights, &store);
    let expected = run(&*executor(isa, 1).compile(&program, &fresh).unwrap());
    fresh.save();
    let good = store.0.lock().unwrap().clone();
    let spoilt: [fn(&mut Vec<Vec<u8>>); 4] =
        [|parts| parts[0].truncate(4), |parts| parts.clear(), |parts| parts.push(vec![0; 4]), |parts| parts[0].push(0)];
    for key in good.keys() {
        for spoil in spoilt {
            let mut bad = good.clone();
            spoil(bad.get_mut(key).unwrap());
            *store.0.lock().unwrap() = bad;
            let mended = weights(GeneratedWeights, &store);
            let found = run(&*executor(isa, 1).compile(&program, &mended).unwrap());
            assert_eq!(bits(&expected), bits(&found), "{key}");
            mended.save();
            assert!(*store.0.lock().unwrap() == good, "{key}");
        }
    }
}

#[test]
fn unreadable_weight_is_reported_when_packing_on_threads() {
    let refused = executor(Isa::Portable, 2).compile(&program(), &Weights::new(Arc::new(Forbidden))).unwrap_err();
    assert!(refused.to_string().contains("was read"), "{refused}");
}

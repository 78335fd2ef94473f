use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Weights of one element, with a counter of reads.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl WeightSource for Counting {
    fn shape(&self, _name: &str) -> Option<Vec<usize>> {
        Some(vec![1])
    }

    fn read(&self, _name: &str, _shape: &[usize]) -> Result<Vec<f32>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(vec![7.0])
    }
}

/// A store in memory.
#[derive(Debug, Default, Clone)]
struct MemoryStore(Arc<Mutex<StoredSections>>);

type StoredSections = HashMap<PackedLayout, Vec<(String, Vec<u8>)>>;

impl PackedStore for MemoryStore {
    fn load(&self, layout: &PackedLayout, _parallel: Parallel<'_>) -> (Sections, Vec<String>) {
        let store = self.0.lock().unwrap();
        let Some(sections) = store.get(layout) else { return (Sections::new(), vec!["nothing there".into()]) };
        let aligned = |bytes: &[u8]| {
            let mut aligned = AlignedBytes::zeros(bytes.len()).unwrap();
            aligned.copy_from_slice(bytes);
            vec![aligned]
        };
        (sections.iter().map(|(key, bytes)| (key.clone(), aligned(bytes))).collect(), Vec::new())
    }

    fn save(&self, layout: &PackedLayout, sections: &[(&str, Vec<&[u8]>)], _: usize) -> Vec<String> {
        let sections = sections.iter().map(|(key, parts)| ((*key).to_owned(), parts.concat())).collect();
        self.0.lock().unwrap().insert(layout.clone(), sections);
        vec!["saved".into()]
    }
}

impl MemoryStore {
    fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().values().flatten().map(|(key, _)| key.clone()).collect()
    }
}

fn stored(source: Arc<Counting>, store: &MemoryStore) -> Weights {
    Weights::over(Arc::new(Forms::new(source, Some(Box::new(store.clone())))))
}

#[derive(Debug, PartialEq)]
struct Form(Vec<u8>);

impl PackedForm for Form {
    fn buffers(&self) -> Vec<&[u8]> {
        vec![&self.0]
    }
}

fn layout(version: u32) -> PackedLayout {
    PackedLayout { name: "portable.f32".into(), version }
}

fn serial(count: usize, piece: &(dyn Fn(usize) + Sync)) {
    (0..count).for_each(piece);
}

/// Requests the form of each key. Returns the number of weights that were read from the source, and the notices.
fn request(store: &MemoryStore, version: u32, keys: &[&str]) -> (usize, Vec<String>) {
    let source = Arc::new(Counting::default());
    let weights = stored(source.clone(), store);
    let layout = layout(version);
    weights.load(&layout, &serial);
    for key in keys {
        let restore = |mut parts: Vec<AlignedBytes>| Some(Form(parts.pop()?.to_vec())).filter(|form| form.0.len() == 4);
        let make = || Ok(Form(weights.source().read(key, &[1])?[0].to_le_bytes().to_vec()));
        let form = weights.stored(&layout, &[key], "form", restore, make).unwrap();
        assert_eq!(form.0, 7_f32.to_le_bytes());
    }
    (source.0.load(Ordering::Relaxed), weights.save())
}

#[test]
fn saved_forms_are_not_read_from_the_source_again() {
    let store = MemoryStore::default();
    assert_eq!(request(&store, 1, &["a", "b"]), (2, vec!["nothing there".into(), "saved".into()]));
    assert_eq!(request(&store, 1, &["b", "a"]), (0, vec![]));
}

#[test]
fn another_layout_version_is_packed_again() {
    let store = MemoryStore::default();
    request(&store, 1, &["a"]);
    assert_eq!(request(&store, 2, &["a"]).0, 1);
}

#[test]
fn saving_a_new_form_keeps_stored_forms_that_were_not_used() {
    let store = MemoryStore::default();
    request(&store, 1, &["a", "b"]);
    assert_eq!(request(&store, 1, &["c"]), (1, vec!["saved".into()]));
    assert_eq!(store.keys(), ["a#form", "b#form", "c#form"]);
}

#[test]
fn stored_forms_of_a_wrong_size_are_packed_again_and_saved() {
    let store = MemoryStore::default();
    store.0.lock().unwrap().insert(layout(1), vec![("a#form".into(), vec![1, 2, 3])]);
    assert_eq!(request(&store, 1, &["a"]), (1, vec!["saved".into()]));
    assert_eq!(request(&store, 1, &["a"]), (0, vec![]));
}

#[test]
fn without_a_store_a_form_is_packed_once() {
    let source = Arc::new(Counting::default());
    let weights = Weights::new(source.clone());
    weights.load(&layout(1), &serial);
    for _ in 0..2 {
        let make = || Ok(Form(vec![weights.source().read("a", &[1])?[0] as u8]));
        weights.stored(&layout(1), &["a"], "form", |_| None, make).unwrap();
    }
    assert_eq!((source.0.load(Ordering::Relaxed), weights.save()), (1, vec![]));
}

/// Returns the packed form of weights.
fn form(weights: &Weights, names: &[&str]) -> Arc<Form> {
    weights.load(&layout(1), &serial);
    let make = || Ok(Form(weights.source().read(names[0], &[1, 1])?[0].to_le_bytes().to_vec()));
    weights.stored(&layout(1), names, "form", |_| None, make).unwrap()
}

#[test]
fn concurrent_engines_share_one_packed_form() {
    let forms = Arc::new(Forms::new(Arc::<Counting>::default(), None));
    let (one, two) = (Weights::over(forms.clone()), Weights::over(forms));
    let mut inner = None;
    let make = || {
        // Simulates another engine that is faster.
        inner = Some(form(&two, &["a"]));
        Ok(Form(vec![9]))
    };
    let outer = one.stored(&layout(1), &["a"], "form", |_| None, make).unwrap();
    assert!(Arc::ptr_eq(&outer, &inner.unwrap()) && Arc::ptr_eq(&outer, &form(&two, &["a"])));
}

fn change(by: f32) -> Arc<LowRank> {
    Arc::new(LowRank::new(vec![1, 1], 1, vec![by], vec![1.0], 1.0).unwrap())
}

#[test]
fn merged_weights_share_the_forms_of_unchanged_weights() {
    let source = Arc::new(Counting::default());
    let base = Arc::new(Weights::new(source.clone()));
    let merge =
        |scale: f32| Weights::merged(&base, [("a".to_owned(), scale, change(2.0)), ("b".to_owned(), 0.0, change(1.0))]);
    let (one, two) = (merge(1.0), merge(0.5));
    assert!(Arc::ptr_eq(&form(&one, &["b", "c"]), &form(&base, &["b", "c"])));
    assert!(Arc::ptr_eq(&form(&one, &["b", "c"]), &form(&two, &["b", "c"])));
    assert_eq!(source.0.load(Ordering::Relaxed), 1);
    // A form of several weights differs if any of them changes.
    for names in [["a", "c"], ["c", "a"]] {
        let forms = [&base, &one, &two].map(|weights| form(weights, &names));
        assert!(!Arc::ptr_eq(&forms[0], &forms[1]) && !Arc::ptr_eq(&forms[1], &forms[2]));
    }
    let number = |weights: &Weights| f32::from_le_bytes(form(weights, &["a"]).0.clone().try_into().unwrap());
    assert_eq!([&base, &one, &two].map(|weights| number(weights)), [7.0, 9.0, 8.0]);
    assert!(Arc::ptr_eq(&merge(0.0), &base));
}

#[test]
fn forms_of_merged_weights_are_never_stored() {
    let store = MemoryStore::default();
    let base = stored(Arc::default(), &store);
    let merged = Weights::merged(&Arc::new(base), [("a".to_owned(), 1.0, change(2.0))]);
    form(&merged, &["a"]);
    form(&merged, &["b"]);
    assert_eq!(merged.save(), ["nothing there", "saved"]);
    assert_eq!(store.keys(), ["b#form"]);
}

#[test]
fn merged_layers_are_not_computed_in_int8() {
    let scale = crate::net::bytes::ByteScale::new(0.5, 3).unwrap();
    let scales = ["a", "b"].map(|name| (name.to_owned(), scale)).into_iter().collect();
    let base = Arc::new(Weights::new(Arc::new(Counting::default())).with_byte_scales(scales));
    let merged = Weights::merged(&base, [("a".to_owned(), 1.0, change(2.0))]);
    assert_eq!((merged.byte_scales().get("a"), merged.byte_scales().get("b")), (None, Some(scale)));
    assert_eq!(base.byte_scales().len(), 2);
}

#[test]
fn a_linear_layer_may_be_saved_as_a_convolution() {
    assert!(same_layout(&[4, 3], &[4, 3, 1, 1]) && same_layout(&[], &[1]));
    assert!(!same_layout(&[4, 3], &[3, 4]) && !same_layout(&[4, 3], &[4, 3, 3, 3]));
}

//! Pickled files in place of safetensors: the same pictures, the same networks, and a notice of each.

use std::fs;
use std::ops::ControlFlow;

use dreamframe::PackedCache;
use dreamframe::load::{Checkpoint, ConvertOptions};
use dreamframe::params::Notice;
use dreamframe_tests::Single;
use dreamframe_tests::frames::pictures;
use dreamframe_tests::kit::Kit;
use dreamframe_tests::pickled::{pickle, pickle_all};

#[test]
fn pictures_with_pickled_models_are_those_with_safetensors() {
    let kit = Kit::new(env!("CARGO_TARGET_TMPDIR"), "pickled");
    let mut engine = kit.engine(Kit::params(), |_| {}).unwrap();
    let is_pickled = |notice: &&Notice| notice.message.contains("is a pickled file");
    assert_eq!(engine.notices().iter().filter(is_pickled).count(), 0);
    let safe = pictures(&mut engine, 2);
    drop(engine);
    pickle_all(kit.path());
    // Written by the first engine, and read by the second.
    for round in 0..2 {
        let mut engine = kit.engine(Kit::params(), |options| options.packed_cache = PackedCache::Beside).unwrap();
        assert!(pictures(&mut engine, 2) == safe, "round {round}");
        for (path, file) in [
            ("model_id", "diffusion_pytorch_model.bin"),
            ("controlnets", "net-a"),
            ("controlnets", "net-b"),
            ("lora_dict", "pytorch_lora_weights.bin"),
            ("ip_adapter", "ip-adapter_sd15.bin"),
        ] {
            let noted = |notice: &Notice| notice.path == path && notice.message.contains(file);
            assert!(engine.notices().iter().filter(is_pickled).any(noted), "{path}: {:?}", engine.notices());
        }
    }
}

#[test]
fn a_pickled_checkpoint_in_one_file_converts_to_the_bytes_of_the_safetensors_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    Single::of_words("sd21", 64).write_file(&path("safe.safetensors"));
    pickle(&path("safe.safetensors"), &path("pickled.ckpt"));
    for (file, target) in [("safe.safetensors", "from-safe"), ("pickled.ckpt", "from-pickled")] {
        let checkpoint = Checkpoint::folder(path(file)).unwrap();
        let flow = checkpoint.convert(&path(target), ConvertOptions::default(), &mut |_| ControlFlow::Continue(()));
        assert!(flow.unwrap().is_continue());
    }
    for file in [
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "model_index.json",
    ] {
        let read = |target: &str| fs::read(path(target).join(file)).unwrap();
        assert!(read("from-safe") == read("from-pickled"), "{file}");
    }
}

//! The choice of the autoencoder: the model's own, or a tiny one.

use std::fs;
use std::path::Path;

use super::packed::copy_folder;
use crate::engine::{Engine, EngineOptions, Vae};
use crate::error::{ErrorKind, Result};
use crate::frame::{FrameView, PixelFormat};
use crate::load::ModelSource;
use crate::params::StreamDiffusionParams;

const SIDE: u32 = 64;

/// Copies a folder of `tests/golden`.
fn golden(name: &str, to: &Path) {
    copy_folder(&Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden")).join(name), to);
}

/// Writes the model `name`, whose own autoencoder is a full one, to `folder`.
fn model(folder: &Path, name: &str) {
    let model = folder.join(name);
    golden("stream/model", &model);
    fs::remove_dir_all(model.join("vae")).unwrap();
    golden("sd15/vae", &model.join("vae"));
    // The name alone says whether it was distilled to few steps.
    let scheduler = model.join("scheduler/scheduler_config.json");
    let config = fs::read_to_string(&scheduler).unwrap();
    fs::write(&scheduler, config.replace("LCMScheduler", "EulerDiscreteScheduler")).unwrap();
}

/// Writes a tiny autoencoder as the published one.
fn tiny(folder: &Path) {
    golden("stream/model/vae", &folder.join("madebyollin/taesd"));
}

/// Returns the notices about the autoencoder, and a picture, of the model `name` in `folder`.
fn picture(folder: &Path, name: &str, vae: Vae) -> Result<(Vec<String>, Vec<u8>)> {
    let options = EngineOptions::default().with_dtype(crate::Dtype::F32).with_threads(Some(2)).with_vae(vae);
    let params =
        StreamDiffusionParams { model_id: name.to_owned(), width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
    let builder = Engine::builder().models(ModelSource::folder(folder)).params(params).options(options);
    let mut engine = builder.build()?;
    let pixels: Vec<u8> = (0..SIDE * SIDE * 4).map(|i| (i * 7) as u8).collect();
    let picture = engine.process(&FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap())?;
    let notices = engine.notices().iter().filter(|notice| notice.path == "vae");
    Ok((notices.map(|notice| notice.message.clone()).collect(), picture.frame.pixels().to_vec()))
}

#[test]
fn every_model_uses_the_tiny_autoencoder_if_it_is_installed_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ["toy-turbo", "plain"].into_iter().for_each(|name| model(folder, name));
    let of = |name: &str, vae: Vae| picture(folder, name, vae).unwrap();
    let (notices, full) = of("toy-turbo", Vae::Auto);
    assert!(notices.iter().all(|notice| notice.contains("`dreamframe models fetch madebyollin/taesd`")), "{notices:?}");
    assert_eq!(of("toy-turbo", Vae::Full), (Vec::new(), full.clone()));

    tiny(folder);
    let (notices, small) = of("toy-turbo", Vae::Auto);
    assert!(small != full);
    let text = "is auto: madebyollin/taesd is used instead of the model's own autoencoder, which needs";
    assert!(notices.len() == 1 && notices[0].starts_with(text), "{notices:?}");
    let place = folder.join("madebyollin/taesd");
    for vae in [Vae::Tiny, Vae::Id("madebyollin/taesd".into()), Vae::Folder(place.clone())] {
        assert_eq!(of("toy-turbo", vae), (Vec::new(), small.clone()));
    }
    assert_eq!(of("toy-turbo", Vae::Full).1, full);
    assert_eq!(of("plain", Vae::Auto), (notices, small));
    assert_eq!(of("plain", Vae::Full), (Vec::new(), full.clone()));

    fs::write(place.join("config.json"), "{").unwrap();
    let (notices, picture) = of("toy-turbo", Vae::Auto);
    assert!(notices.len() == 1 && notices[0].contains("is not used"), "{notices:?}");
    assert!(picture == full);
}

#[test]
fn an_autoencoder_that_is_not_there_is_an_error_with_what_fetches_it() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path(), "plain");
    let refused = picture(folder.path(), "plain", Vae::Tiny).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(refused.to_string().contains("`dreamframe models fetch madebyollin/taesd` fetches it"), "{refused}");
    for vae in [Vae::Id("no/such".into()), Vae::Folder(folder.path().join("no-such"))] {
        let refused = picture(folder.path(), "plain", vae).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
        assert!(refused.to_string().contains("vae"), "{refused}");
    }
}

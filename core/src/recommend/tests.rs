use super::*;
use crate::ErrorKind;
use crate::params::NAMED_MODELS;

/// A machine with fixed rates.
fn speed() -> MachineSpeed {
    MachineSpeed::of_gpu(1e12, 1e11, 0.5, 1e-6).unwrap()
}

fn of<'a>(all: &'a [Recommendation], model: &str, side: u32) -> &'a Recommendation {
    all.iter().find(|found| found.model == model && found.width == side).unwrap()
}

#[test]
fn every_named_model_is_listed_at_sizes_that_suit_it_with_its_command() {
    let all = recommend(&speed(), &[]).unwrap();
    for model in &NAMED_MODELS {
        let sizes: Vec<u32> = all.iter().filter(|found| found.model == model.name).map(|found| found.width).collect();
        assert!(sizes.contains(&model.side) && sizes.iter().all(|&side| side >= model.side / 2), "{model:?} {sizes:?}");
        let found = of(&all, model.name, model.side);
        assert_eq!(found.command.as_deref(), Some(format!("dreamframe models fetch {}", model.name).as_str()));
        assert_eq!((found.licence, found.download_mb), (model.licence, model.download_mb));
        assert_eq!(found.steps, model.t_index_list.len());
    }
    let demo = of(&all, "demo", 256);
    assert_eq!((&demo.command, demo.download_mb), (&None, Some(0)));
}

#[test]
fn the_fastest_is_first_and_what_does_not_fit_is_last() {
    let networks = Networks::of("sdxs").unwrap();
    let estimates = |available| at_sizes(&speed(), "sdxs", &networks, &[(256, 256), (512, 512)], available).unwrap();
    let bytes: Vec<u64> = estimates(None).iter().map(|found| found.memory_bytes).collect();
    let fits: Vec<Option<bool>> = estimates(Some(bytes[0])).iter().map(|found| found.fits).collect();
    assert_eq!(fits, [Some(true), Some(false)]);
    let all = recommend(&speed(), &[]).unwrap();
    let key = |found: &Recommendation| (found.fits == Some(false), -found.pictures_per_second);
    assert!(all.is_sorted_by(|a, b| key(a) <= key(b)));
}

#[test]
fn larger_pictures_and_more_steps_take_longer() {
    let all = recommend(&speed(), &[(256, 256), (384, 384), (512, 512), (512, 256)]).unwrap();
    for model in networks::all() {
        let of = |size| all.iter().find(|found| found.model == model && (found.width, found.height) == size).unwrap();
        let [small, wide, middle, large] = [(256, 256), (512, 256), (384, 384), (512, 512)].map(of);
        assert!(small.frame_ms < wide.frame_ms && wide.frame_ms < middle.frame_ms && middle.frame_ms < large.frame_ms);
        assert!(small.memory_bytes < middle.memory_bytes && middle.memory_bytes < large.memory_bytes);
        assert!((large.frame_ms * large.pictures_per_second - 1e3).abs() < 1e-6);
    }
    let networks = Networks::of("sd-turbo").unwrap();
    let params = StreamDiffusionParams::for_model("sd-turbo").unwrap();
    let unet = |t_index_list: &[u32]| {
        let params = StreamDiffusionParams { t_index_list: t_index_list.to_vec(), ..params.clone() };
        estimate(&speed(), &params, ("sd-turbo", &networks), (256, 256), None).unwrap().unet_ms
    };
    assert!((unet(&[12, 20, 32]) / unet(&[12]) - 3.0).abs() < 1e-9);
}

#[test]
fn a_size_that_some_models_lack_is_left_out_for_them_and_one_that_all_lack_is_refused() {
    let refused = recommend(&speed(), &[(100, 100)]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert!(refused.to_string().contains("100x100"), "{refused}");
    assert!(recommend(&speed(), &[(0, 512)]).is_err());
    assert!(!recommend(&speed(), &[(100, 100), (512, 512)]).unwrap().is_empty());
}

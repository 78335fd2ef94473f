//! Faults of a device, one after another: an engine reports them, and what comes next is not affected by them.
//!
//! `DREAMFRAME_FULL` tries all of them, all tests some.

use dreamframe::exec::simulated::DeviceFault;
use dreamframe::{ErrorKind, FrameView, ParamsPatch, PictureKind, PixelFormat, StreamDiffusionParams};
use dreamframe_tests::device_faults::{DeviceFaults, frames};
use dreamframe_tests::frames::{moving_disc, pictures};
use dreamframe_tests::injection::{Faults, Injector, Options};
use dreamframe_tests::kit::{Kit, SIDE};
use dreamframe_tests::native::is_full;
use serde_json::{Value, json};

fn options(every: usize) -> Options {
    Options { every: if is_full() { 1 } else { every }, first: 1, only: None, prints: is_full() }
}

fn changed(changes: &Value) -> StreamDiffusionParams {
    ParamsPatch::from_json(&changes.to_string()).unwrap().merge(&Kit::params()).unwrap().0
}

#[test]
fn a_request_that_the_device_refuses_is_an_error_and_changes_nothing() {
    let faults = DeviceFaults::new(DeviceFault::Request).unwrap();
    let kit = Kit::new(env!("CARGO_TARGET_TMPDIR"), "device-requests");
    let mut injector = Injector::new(&faults, options(31));
    injector.builds_and_updates(&kit).unwrap();
    injector.finish();
}

#[test]
fn after_a_fault_in_a_frame_the_pictures_are_those_of_a_new_engine() {
    let kit = Kit::new(env!("CARGO_TARGET_TMPDIR"), "device-frames");
    let all = [
        // Latent feedback, cached attention, and ControlNets with an image for each row.
        json!({"t_index_list": [38, 45]}),
        // Features of the UNet that are used again for any frame.
        json!({"feature_reuse": {"interval": 4, "max_error": 2}, "cached_attention": {"enabled": false}}),
        // A processor with a state, of frames.
        json!({"image_preprocessing": {"processors": [{"type": "external"}]}, "cfg_type": "full"}),
        // The same, of the images of a ControlNet, in a stream of three rows.
        json!({"controlnets": [{"model_id": "net-a", "preprocessor": "external"}], "t_index_list": [38, 43, 47]}),
    ];
    let search = |changes: &Value, fault: fn(u64) -> DeviceFault, every: usize| {
        let faults = DeviceFaults::new(fault).unwrap();
        let mut injector = Injector::new(&faults, options(every));
        frames(&mut injector, &kit, &changed(changes)).unwrap();
        injector.finish();
    };
    for changes in &all {
        search(changes, DeviceFault::Request, 29);
        search(changes, DeviceFault::Wait, 5);
    }
}

#[test]
fn a_frame_that_is_similar_to_a_lost_one_has_a_picture_of_its_own() {
    let kit = Kit::new(env!("CARGO_TARGET_TMPDIR"), "device-similar");
    let faults = DeviceFaults::new(DeviceFault::Wait).unwrap();
    let params = changed(&json!({"enable_similar_image_filter": true, "similar_image_filter_threshold": 0.5}));
    let mut engine = faults.engine(&kit, params).unwrap();
    pictures(&mut engine, 2);
    let pixels = moving_disc(12, SIDE, SIDE);
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    // The waits of a frame are for its input, what processors read, and its picture.
    for wait in 1.. {
        faults.start(wait);
        let result = engine.process(&frame).map(drop);
        if !faults.end() {
            assert!(wait > 1);
            break;
        }
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Device);
        assert_eq!(engine.process(&frame).unwrap().kind, PictureKind::New);
    }
}

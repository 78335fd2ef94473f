//! Features of the UNet that are used again, together with ControlNets and an IP-Adapter, on the CPU and on a simulated device.

use std::path::Path;
use std::sync::Arc;

use dreamframe::exec::Executor;
use dreamframe::exec::cpu::{CpuExecutor, CpuOptions};
use dreamframe::exec::simulated::SimulatedExecutor;
use dreamframe::models::ip_adapter::AdapterKind;
use dreamframe::params::ControlNetConfig;
use dreamframe::{Dtype, Engine, FrameView, ModelSource, PixelFormat, StreamDiffusionParams, style_data_uri};
use dreamframe_tests::adapters::{DEMO, adapter, copy_folder, demo_unet, encoder, png};
use dreamframe_tests::controlnets::Folder;
use dreamframe_tests::frames::moving_disc;

const SIDE: u32 = 64;

fn engine(folder: &Folder, executor: Arc<dyn Executor>, batched: bool, interval: u32) -> Engine {
    let mut params = StreamDiffusionParams { width: SIDE, height: SIDE, ..StreamDiffusionParams::demo() };
    params.use_denoising_batch = batched;
    params.controlnets = ["net-a", "net-b"].map(ControlNetConfig::new).into();
    params.model_id = "base".into();
    params.ip_adapter.enabled = true;
    params.ip_adapter.ip_adapter_model_path = Some("adapter/ip-adapter.safetensors".into());
    params.ip_adapter_style_image_url = style_data_uri(&png([250, 120, 10])).unwrap().into();
    (params.feature_reuse.interval, params.feature_reuse.max_error) = (interval, 0.0);
    Engine::builder().models(ModelSource::folder(folder.path())).params(params).executor(executor).build().unwrap()
}

fn picture(engine: &mut Engine, index: usize) -> Vec<u8> {
    let pixels = moving_disc(index, SIDE, SIDE);
    let frame = FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).unwrap();
    engine.process(&frame).unwrap().frame.pixels().to_vec()
}

#[test]
fn pictures_of_frames_that_stay_are_the_same_with_controlnets_and_a_style_image() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "feature-reuse");
    ["net-a", "net-b"].into_iter().zip(1..).for_each(|(name, seed)| folder.controlnet(name, seed));
    copy_folder(Path::new(DEMO), &folder.path().join("base"));
    let path = folder.path().join("adapter");
    adapter(&path.join("ip-adapter.safetensors"), AdapterKind::Regular, demo_unet().text_dim, 24);
    encoder(&path.join("image_encoder"));
    let options = CpuOptions { dtype: Dtype::F32, ..CpuOptions::default() };
    let cpu = || Arc::new(CpuExecutor::new(options).unwrap());
    let executors: [(&str, Arc<dyn Executor>); 2] =
        [("cpu", cpu()), ("simulated", Arc::new(SimulatedExecutor::new(cpu())))];
    for (name, executor) in executors {
        for batched in [true, false] {
            let [mut plain, mut reusing] = [1, 4].map(|interval| engine(&folder, executor.clone(), batched, interval));
            // Two scenes, of some frames each.
            for index in [0, 0, 0, 0, 0, 5, 5, 5, 5] {
                let [expected, own] = [&mut plain, &mut reusing].map(|engine| picture(engine, index));
                assert!(own == expected, "{name}, batched: {batched}, frame of {index}");
            }
            let (plain, reusing) = (plain.work(), reusing.work());
            assert!(reusing.shallow_evaluations > 0, "{name}");
            assert_eq!(reusing.unet_evaluations + reusing.shallow_evaluations, plain.unet_evaluations, "{name}");
            assert!(reusing.control_evaluations < plain.control_evaluations, "{name}");
        }
    }
}

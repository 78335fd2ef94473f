//! In the steady state a frame allocates nothing, and memory stays flat.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dreamframe::exec::cpu::fastest_dtype;
use dreamframe::params::{ControlNetConfig, ProcessorName, SingleProcessorConfig};
use dreamframe::{
    ControlImages, Dtype, Engine, EngineOptions, FrameView, FrameViewMut, ModelSource, PictureKind, PixelFormat,
    SessionOptions, StreamDiffusionParams,
};
use dreamframe_tests::controlnets::{Folder, RIFE};
use dreamframe_tests::frames::{demo_engine, moving_disc};
use dreamframe_tests::native::is_full;
use dreamframe_tests::process::Process;
use serde_json::json;

/// Counts what every thread of this test asks for.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "a global allocator is unsafe to implement; each call goes on to the system's")]
// SAFETY: every method passes its arguments to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Without a harness: the counter belongs to the whole process, and a harness allocates when a test takes a minute.
fn main() {
    frames_allocate_nothing_and_memory_stays_flat(if is_full() { 10_000 } else { 120 });
}

fn frames_allocate_nothing_and_memory_stays_flat(count: usize) {
    Loop::new(fastest_dtype(), |_| ()).count(40);
    for dtype in [Dtype::F32, fastest_dtype()] {
        let looks_back = |params: &mut StreamDiffusionParams| {
            params.cached_attention.enabled = true;
            params.cached_attention.max_frames = 3;
        };
        Loop::new(dtype, looks_back).count(30);
        let merges = |params: &mut StreamDiffusionParams| {
            params.cached_attention.enabled = true;
            params.cached_attention.interval = 2;
            params.cached_attention.feature_injection_strength = 0.8;
            params.cached_attention.feature_similarity_threshold = 0.5;
            params.cached_attention.token_merging = true;
        };
        Loop::new(dtype, merges).count(30);
    }
    Loop::new(Dtype::F32, with_every_processor).count(22);
    // With person masks, whose networks are built in.
    let masked = |params: &mut StreamDiffusionParams| {
        let kind = ProcessorName::MediapipeSegmentation;
        let settings = json!({ "detect_resolution": SIDE, "blur_radius": 2, "output_mode": "alpha" });
        let settings = settings.as_object().unwrap().clone();
        params.image_preprocessing.processors.push(SingleProcessorConfig { kind, enabled: true, params: settings });
    };
    Loop::new(Dtype::F32, masked).count(22);
    // With the built-in classifier, to which every picture is harmless enough.
    let judged = |params: &mut StreamDiffusionParams| {
        (params.use_safety_checker, params.safety_checker_threshold) = (true, 1.0);
    };
    Loop::new(Dtype::F32, judged).count(22);
    // With ControlNets, however their images are chosen.
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "steady");
    (0..2).for_each(|i| folder.controlnet(&format!("net-{i}"), i));
    for images in [ControlImages::Newest, ControlImages::PerRow] {
        Loop::over(controlled(&folder, images, 1)).count(22);
    }
    // With features that are used again.
    Loop::over(controlled(&folder, ControlImages::Newest, 3)).count(22);
    folder.changed_controlnet("moved", 2, &json!({"conditioning_channels": 6}));
    folder.flow();
    Loop::over(with_flow(&folder)).count(22);
    Loop::over(translated()).count(22);
    folder.rife();
    for network in [None, Some(RIFE[0]), Some(RIFE[1])] {
        interpolated_pictures_allocate_nothing(&folder, network);
    }
    let mut frames = Loop::new(Dtype::F32, |_| ());
    // Reading the resident memory allocates, so it comes before the counting.
    let resident = Process::this().resident_kib();
    frames.count(count / 4);
    // Two frames per iteration, one for each kind of output.
    (count / 4..count / 2).for_each(|index| frames.turn(index));
    if let (Some(before), Some(after)) = (resident, Process::this().resident_kib()) {
        assert!(after <= before + 1024, "resident memory rose from {before} to {after} KiB");
    }
    assert!(frames.out.iter().any(|&byte| byte != 0 && byte != 255), "there was a picture");
}

const SIDE: u32 = 64;
const WARM_UP: usize = 12;
/// How long a picture may take before the test fails.
const LIMIT: Duration = Duration::from_secs(120);

/// Puts every processor without a network into its chains.
fn with_every_processor(params: &mut StreamDiffusionParams) {
    for &kind in ProcessorName::ALL.iter().filter(|name| !name.has_weights()) {
        let is_lineart = kind == ProcessorName::StandardLineart;
        let settings = if is_lineart { json!({ "detect_resolution": SIDE }) } else { json!({}) };
        let settings = settings.as_object().unwrap().clone();
        let processor = SingleProcessorConfig { kind, enabled: true, params: settings };
        if kind.is_latent() {
            params.latent_preprocessing.processors.push(processor.clone());
            params.latent_postprocessing.processors.push(processor);
        } else {
            params.image_preprocessing.processors.push(processor.clone());
            params.image_postprocessing.processors.push(processor);
        }
    }
}

/// A host's frame loop, warmed up.
struct Loop {
    engine: Engine,
    frames: Vec<Vec<u8>>,
    out: Vec<u8>,
}

impl Loop {
    fn new(dtype: Dtype, change: impl FnOnce(&mut StreamDiffusionParams)) -> Self {
        let engine = demo_engine(SIDE, |params, options| {
            options.dtype = dtype;
            params.guidance_scale = 1.3;
            // The filter looks at every frame and, at this threshold, skips none: each one is processed.
            params.enable_similar_image_filter = true;
            params.similar_image_filter_threshold = 1.0;
            change(params);
        });
        Self::over(engine)
    }

    fn over(engine: Engine) -> Self {
        // Frames of another height or width are cropped; scaling is left out, as the resizing library plans each call
        // again.
        let frames = (0..8).map(|index| moving_disc(index, 96, SIDE)).collect();
        let (width, height) = engine.size();
        let mut made = Self { engine, frames, out: vec![0; width as usize * height as usize * 4] };
        (0..WARM_UP).for_each(|index| made.turn(index));
        made
    }

    fn turn(&mut self, index: usize) {
        let pixels = &self.frames[index % self.frames.len()];
        let frame = FrameView::packed(PixelFormat::Rgba8, 96, SIDE, pixels).unwrap();
        let (width, height) = self.engine.size();
        let mut view = FrameViewMut::packed(PixelFormat::Rgba8, width, height, &mut self.out).unwrap();
        assert_eq!(self.engine.process_into(&frame, &mut view).unwrap().kind, PictureKind::New);
        // Pooled pictures use the other kind of output.
        assert_eq!(self.engine.process(&frame).unwrap().kind, PictureKind::New);
    }

    /// Makes sure that the turns up to `end` allocate nothing.
    fn count(&mut self, end: usize) {
        let allocations = ALLOCATIONS.load(Ordering::Relaxed);
        (WARM_UP..end).for_each(|index| self.turn(index));
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - allocations, 0, "allocations in the frame loop");
    }
}

/// A session that interpolates, with a network of `folder` or without one. Its buffers grow with the number of pictures
/// that are under way, which depends on the times of its threads; so one of several rounds must allocate nothing.
fn interpolated_pictures_allocate_nothing(folder: &Folder, network: Option<&str>) {
    let engine = folder.engine(SIDE, |params, _| {
        params.interpolation.factor = 2;
        params.interpolation.scene_cut = 1.0;
        params.interpolation.model_id = network.map(str::to_owned);
    });
    let session = engine.start(SessionOptions::default()).unwrap();
    let handle = session.handle();
    let frames: Vec<Vec<u8>> = (0..4).map(|index| moving_disc(index, SIDE, SIDE)).collect();
    let round = || {
        let before = handle.stats().interpolated.total;
        let allocations = ALLOCATIONS.load(Ordering::Relaxed);
        for pixels in &frames {
            let id = handle.submit(&FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, pixels).unwrap()).unwrap();
            while handle.wait(LIMIT).expect("a picture in time").id != id {}
        }
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - allocations;
        (allocations, handle.stats().interpolated.total - before)
    };
    let is_steady = |&(allocations, made): &(usize, u64)| allocations == 0 && made >= 2;
    let mut rounds = Vec::new();
    while !rounds.last().is_some_and(is_steady) {
        assert!(rounds.len() < 40, "allocations and interpolated pictures of each round: {rounds:?}");
        rounds.push(round());
    }
}

/// An engine of img2img-turbo, whose autoencoder has skip connections.
fn translated() -> Engine {
    let params = json!({"model_id": "model", "width": SIDE, "height": SIDE, "t_index_list": [0],
        "img2img_turbo": {"weights": "sketch.pkl", "strength": 0.6}});
    let (params, _) = StreamDiffusionParams::from_json(&params.to_string()).unwrap();
    let mut options = EngineOptions::default();
    (options.dtype, options.output) = (Dtype::F32, PixelFormat::Rgba8);
    let models = ModelSource::folder(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/img2img_turbo"));
    Engine::builder().models(models).params(params).options(options).build().unwrap()
}

/// An engine with two ControlNets, one with a preprocessor, that computes the whole UNet for one of `interval` frames.
fn controlled(folder: &Folder, images: ControlImages, interval: u32) -> Engine {
    folder.engine(SIDE, |params, options| {
        options.control_images = images;
        (params.feature_reuse.interval, params.feature_reuse.max_error) = (interval, 2.0);
        params.guidance_scale = 1.3;
        params.controlnets = vec![ControlNetConfig::new("net-0"), ControlNetConfig::new("net-1")];
        params.controlnets[1].preprocessor = Some(ProcessorName::Canny);
    })
}

/// An engine with a ControlNet that sees optical flow by a network.
fn with_flow(folder: &Folder) -> Engine {
    folder.engine(SIDE, |params, _| {
        let mut moved = ControlNetConfig::new("moved");
        moved.preprocessor = Some(ProcessorName::TemporalNetTensorrt);
        moved.preprocessor_params = json!({"width": 128, "height": 128}).as_object().unwrap().clone();
        params.controlnets = vec![moved];
    })
}

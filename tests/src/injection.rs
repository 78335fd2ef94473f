//! The n-th operation of a kind fails, for every n: engines are built and changed, alone and in sessions.

use std::cell::RefCell;
use std::io::{Write as _, stdout};
use std::time::Duration;

use dreamframe::{
    Engine, Error, ErrorKind, FrameView, Outcome, ParamsPatch, PixelFormat, Result, SessionOptions,
    StreamDiffusionParams,
};
use serde_json::{Value, json};

use crate::controlnets::RIFE;
use crate::frames::{moving_disc, pictures};
use crate::kit::{Kit, SIDE};

/// How long an update may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Operations of which one fails.
pub trait Faults {
    /// The kinds of the errors.
    const KINDS: &'static [ErrorKind];
    /// Whether the frames in flight may be dropped by an update that succeeds although an operation has failed.
    const MAY_DROP_FRAMES: bool;

    /// Lets the `n`-th operation from now on fail, from 1.
    fn start(&self, n: usize);

    /// Lets no operation fail any more; returns whether one has.
    fn end(&self) -> bool;

    /// Builds an engine in which operations fail.
    ///
    /// # Errors
    ///
    /// Those of the builder.
    fn engine(&self, kit: &Kit, params: StreamDiffusionParams) -> Result<Engine>;
}

/// Which operations fail.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of this many operations in succession, one fails.
    pub every: usize,
    /// The first one that fails, from 1.
    pub first: usize,
    /// Only calls whose name begins with it.
    pub only: Option<String>,
    /// Whether the number of each is printed before it fails: if it aborts the process, that is the last one.
    pub prints: bool,
}

/// Lets operations fail one after another.
#[derive(Debug)]
pub struct Injector<'f, F> {
    faults: &'f F,
    options: Options,
    /// Operations that failed.
    failed: usize,
    /// Those after which the call returned an error; the others succeeded in spite of it.
    reported: usize,
}

impl<'f, F: Faults> Injector<'f, F> {
    /// Returns one that has not let an operation fail.
    pub fn new(faults: &'f F, options: Options) -> Self {
        Self { faults, options, failed: 0, reported: 0 }
    }

    /// Returns what lets operations fail.
    pub fn faults(&self) -> &'f F {
        self.faults
    }

    /// Ends the search, and prints what was run if the [options](Options::prints) say so.
    ///
    /// # Panics
    ///
    /// If no operation that failed was an error.
    pub fn finish(self) {
        let Self { failed, reported, .. } = self;
        self.print(format_args!("{failed} operations failed, {reported} of them an error\n"));
        assert!(reported > 0, "{failed} operations failed, none of them an error");
    }

    /// Calls `work` with its `n`-th operation failing, for one `n` after another, until it has fewer. After each call,
    /// `check` gets what it returned, and whether an operation failed; it has to undo what `work` did then.
    ///
    /// # Panics
    ///
    /// If `work` returns an error of another kind, or one without a failure.
    pub fn each<T>(&mut self, name: &str, mut work: impl FnMut() -> Result<T>, mut check: impl FnMut(Result<T>, bool)) {
        if self.options.only.as_ref().is_some_and(|only| !name.starts_with(only)) {
            check(work(), false);
            return;
        }
        self.print(format_args!("{name}:"));
        for n in (self.options.first..).step_by(self.options.every) {
            self.print(format_args!(" {n}"));
            self.faults.start(n);
            let result = work();
            let has_failed = self.faults.end();
            match &result {
                Err(error) if has_failed => {
                    assert!(F::KINDS.contains(&error.kind()), "{name}, operation {n}: {error:?}");
                    self.reported += 1;
                }
                Err(error) => panic!("{name}, without a failure: {error}"),
                Ok(_) => {}
            }
            check(result, has_failed);
            if !has_failed {
                break;
            }
            self.failed += 1;
        }
        self.print(format_args!("\n"));
    }

    fn print(&self, text: std::fmt::Arguments<'_>) {
        if self.options.prints {
            let mut out = stdout().lock();
            let _ = out.write_fmt(text).and_then(|()| out.flush());
        }
    }

    /// Lets operations fail while engines are built and changed.
    ///
    /// # Errors
    ///
    /// If an engine cannot be built without a failure.
    ///
    /// # Panics
    ///
    /// If a failure has another effect than an error or a success.
    pub fn builds_and_updates(&mut self, kit: &Kit) -> Result<()> {
        self.load(kit)?;
        self.update(kit)?;
        self.session(kit)
    }

    /// Engines are built or report it, and those that are built make the same pictures.
    fn load(&mut self, kit: &Kit) -> Result<()> {
        let faults = self.faults;
        let expected = pictures(&mut faults.engine(kit, Kit::params())?, 2);
        let check = |engine: Result<Engine>, _| {
            if let Ok(mut engine) = engine {
                assert_eq!(pictures(&mut engine, 2), expected);
            }
        };
        self.each("load", || faults.engine(kit, Kit::params()), check);
        Ok(())
    }

    /// A failed update changes nothing: the engine's pictures are those of one that did not attempt it.
    fn update(&mut self, kit: &Kit) -> Result<()> {
        let faults = self.faults;
        let mut other = faults.engine(kit, Kit::params())?;
        let engine = RefCell::new(faults.engine(kit, Kit::params())?);
        for patch in patches() {
            let patch = ParamsPatch::from_json(&patch.to_string())?;
            let before = other.params().clone();
            let (names, undo) = undo(&patch, &before)?;
            self.each(
                &format!("update {names}"),
                || engine.borrow_mut().update(&patch).map(drop),
                |result, has_failed| {
                    let mut engine = engine.borrow_mut();
                    if result.is_ok() {
                        other.update(&patch).expect("an update without failures is applied");
                    }
                    assert_eq!(engine.params(), other.params());
                    let succeeded = result.is_ok() && has_failed;
                    if succeeded && F::MAY_DROP_FRAMES {
                        pictures(&mut engine, 2);
                        let build = || faults.engine(kit, before.clone()).expect("the engine is built as before");
                        (*engine, other) = (build(), build());
                        return;
                    }
                    assert_eq!(pictures(&mut engine, 2), pictures(&mut other, 2), "{names}");
                    if succeeded {
                        for engine in [&mut *engine, &mut other] {
                            engine.update(&undo).expect("the update is undone");
                        }
                    }
                },
            );
        }
        Ok(())
    }

    /// An update of a session is applied or rejected, and pictures follow either.
    fn session(&mut self, kit: &Kit) -> Result<()> {
        let session = self.faults.engine(kit, Kit::params())?.start(SessionOptions::default())?;
        let handle = session.handle();
        let pixels = moving_disc(1, SIDE, SIDE);
        let apply = |patch: &ParamsPatch| match handle.wait_for(&handle.update(patch)?, LIMIT)? {
            Outcome::Rejected(error) => Err(Error::new(error.kind(), error.to_string())),
            Outcome::Applied | Outcome::Superseded | _ => Ok(()),
        };
        for patch in patches() {
            let patch = ParamsPatch::from_json(&patch.to_string())?;
            let before = handle.params();
            let (names, undo) = undo(&patch, &before)?;
            let check = |result: Result<()>, has_failed| {
                let frame =
                    FrameView::packed(PixelFormat::Rgba8, SIDE, SIDE, &pixels).expect("the frame is well formed");
                let id = handle.submit(&frame).expect("frames are accepted");
                while handle.wait(LIMIT).expect("a picture follows").id < id {}
                if result.is_ok() && has_failed {
                    apply(&undo).expect("the update is undone");
                }
                assert_eq!(handle.params() == before, has_failed, "{names}");
            };
            self.each(&format!("session, update {names}"), || apply(&patch), check);
        }
        assert_eq!((handle.stats().failed.total, handle.stats().dropped.total), (0, 0));
        session.stop(LIMIT).map(drop)
    }
}

/// Changes of everything that allocates.
fn patches() -> Vec<Value> {
    vec![
        json!({"prompt": "moonlit night", "negative_prompt": "rain"}),
        json!({"width": 96, "height": 96}),
        json!({"t_index_list": [38, 43, 47], "cfg_type": "full"}),
        json!({"lora_dict": {"lora-a": 1, "lora-b": -0.5}}),
        json!({"controlnets": [{"model_id": "net-c", "preprocessor": "soft_edge"}, {"model_id": "net-a"}]}),
        json!({"ip_adapter_style_image_url": Kit::other_style(), "ip_adapter": {"scale": 0.9}}),
        json!({"cached_attention": {"enabled": true, "max_frames": 4}}),
        json!({"feature_reuse": {"interval": 3}}),
        json!({"image_preprocessing": [{"type": "canny"}, {"type": "sharpen"}], "image_postprocessing": []}),
        json!({"model_id": "second-demo", "width": 64, "height": 64}),
        json!({"interpolation": {"factor": 2, "model_id": RIFE[0]}}),
    ]
}

/// Returns the names of the fields of a patch, and the patch that gives them the values of `params`.
fn undo(patch: &ParamsPatch, params: &StreamDiffusionParams) -> Result<(String, ParamsPatch)> {
    let (patch, values) = (patch.to_value(), params.to_value());
    let names: Vec<&String> = patch.as_object().into_iter().flat_map(|fields| fields.keys()).collect();
    let fields = names.iter().map(|&name| (name.clone(), values[name].clone())).collect();
    let undo = ParamsPatch::from_json(&Value::Object(fields).to_string())?;
    Ok((names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", "), undo))
}

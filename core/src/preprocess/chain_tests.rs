//! Chains: order, sizes, state across updates, and errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value, json};

use super::*;
use crate::params::ProcessorName;
use crate::preprocess::{Factory, Registry};

const SIZE: (usize, usize) = (6, 4);

/// Adds the number of frames so far, times a setting; the factory counts the processors that it started.
#[derive(Debug, Default)]
struct Counter {
    started: AtomicUsize,
}

#[derive(Debug)]
struct Counting {
    seen: usize,
    times: f32,
}

impl Factory for Counter {
    fn start(&self, settings: &Map<String, Value>) -> Box<dyn Preprocessor> {
        self.started.fetch_add(1, Ordering::Relaxed);
        let mut counting = Counting { seen: 0, times: 1.0 };
        counting.configure(settings);
        Box::new(counting)
    }
}

impl Preprocessor for Counting {
    fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
        self.seen += 1;
        output.copy_from(input);
        output.pixels_mut().iter_mut().for_each(|value| *value += self.seen as f32 * self.times);
        Ok(())
    }

    fn configure(&mut self, settings: &Map<String, Value>) {
        self.times = settings.get("feedback_strength").and_then(Value::as_f64).unwrap_or(1.0) as f32;
    }

    fn reset(&mut self) {
        self.seen = 0;
    }
}

fn recipe(registry: &Registry, name: ProcessorName, settings: Value) -> Recipe {
    registry.recipe(name, settings.as_object().unwrap()).unwrap()
}

fn run(chain: &mut Chain, value: f32) -> Result<Image> {
    let input = Image::from_pixels(SIZE.0, SIZE.1, 3, vec![value; SIZE.0 * SIZE.1 * 3]).unwrap();
    chain.run(&input, &Context { previous: None, size: SIZE }).cloned()
}

fn first(chain: &mut Chain, value: f32) -> f32 {
    run(chain, value).unwrap().pixels()[0]
}

#[test]
fn an_empty_chain_returns_its_input() {
    let mut chain = Chain::new(ChainKind::Frame);
    assert!(chain.is_empty());
    assert_eq!(first(&mut chain, 0.25), 0.25);
}

#[test]
fn processors_run_in_the_order_of_the_list() {
    let add = |value: f32| Registry::new().with(ProcessorName::Blur, Arc::new(Add(value)));
    #[derive(Debug)]
    struct Add(f32);
    impl Factory for Add {
        fn start(&self, _: &Map<String, Value>) -> Box<dyn Preprocessor> {
            Box::new(Doubling(self.0))
        }
    }
    /// Doubles the input and adds a constant.
    #[derive(Debug)]
    struct Doubling(f32);
    impl Preprocessor for Doubling {
        fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
            output.copy_from(input);
            output.pixels_mut().iter_mut().for_each(|value| *value = 2.0 * *value + self.0);
            Ok(())
        }
        fn configure(&mut self, _: &Map<String, Value>) {}
    }
    let recipes = [1.0, 3.0, 7.0].map(|value| recipe(&add(value), ProcessorName::Blur, json!({})));
    let mut chain = Chain::start(ChainKind::Frame, &recipes);
    assert_eq!(first(&mut chain, 0.0), ((1.0 * 2.0) + 3.0) * 2.0 + 7.0);
}

#[test]
fn continuing_processors_keep_their_state_and_take_new_settings() {
    let counter = Arc::new(Counter::default());
    let registry = Registry::new().with(ProcessorName::Feedback, counter.clone());
    let counting = |times: f64| recipe(&registry, ProcessorName::Feedback, json!({ "feedback_strength": times }));
    let passing = recipe(&registry, ProcessorName::Passthrough, json!({}));

    let old = [counting(1.0), passing.clone()];
    let mut chain = Chain::start(ChainKind::Frame, &old);
    assert_eq!((first(&mut chain, 0.0), first(&mut chain, 0.0)), (1.0, 2.0));

    // Other settings, and another processor after it: the third frame counts half.
    let new = [counting(0.5), counting(1.0)];
    let mut update = ChainUpdate::prepare(&old, &new);
    assert_eq!(counter.started.load(Ordering::Relaxed), 2);
    chain.update(&mut update);
    assert_eq!(first(&mut chain, 0.0), 1.5 + 1.0);
    assert_eq!(counter.started.load(Ordering::Relaxed), 2);

    // After a new one, the first one continues; the second, which was removed, is returned.
    let newest = [passing, counting(1.0)];
    let mut update = ChainUpdate::prepare(&new, &newest);
    chain.update(&mut update);
    let gone = update.entries.iter().filter(|entry| matches!(entry.processor, Source::Started(_)));
    assert_eq!(gone.count(), 1);
    assert_eq!(counter.started.load(Ordering::Relaxed), 2);
    assert_eq!(first(&mut chain, 0.0), 4.0);
    chain.reset();
    assert_eq!(first(&mut chain, 0.0), 1.0);
}

#[test]
fn update_prepared_for_another_state_starts_missing_processors() {
    let counter = Arc::new(Counter::default());
    let registry = Registry::new().with(ProcessorName::Feedback, counter.clone());
    let counting = [recipe(&registry, ProcessorName::Feedback, json!({}))];
    let mut update = ChainUpdate::prepare(&counting, &counting);
    let mut chain = Chain::new(ChainKind::Frame);
    chain.update(&mut update);
    assert_eq!(first(&mut chain, 0.0), 1.0);
}

#[test]
fn only_pictures_may_be_larger_than_the_stream() {
    let registry = Registry::new();
    let twice = recipe(&registry, ProcessorName::Upscale, json!({}));
    let third = recipe(&registry, ProcessorName::Upscale, json!({ "scale_factor": 1.3 }));
    let recipes = [twice, third, recipe(&registry, ProcessorName::Sharpen, json!({}))];
    for (kind, size) in [(ChainKind::Frame, SIZE), (ChainKind::Control, SIZE), (ChainKind::Picture, (15, 10))] {
        assert_eq!(kind.output_size(&recipes, SIZE), size);
        let image = run(&mut Chain::start(kind, &recipes), 0.5).unwrap();
        assert_eq!((image.width(), image.height()), size);
    }
}

#[test]
fn error_names_the_processor_and_the_chain_continues() {
    let registry = Registry::new();
    let mut chain = Chain::start(ChainKind::Frame, &[recipe(&registry, ProcessorName::External, json!({}))]);
    let context = Context { previous: None, size: (5, 5) };
    let refused = chain.run(&Image::from_pixels(6, 4, 3, vec![0.0; 72]).unwrap(), &context).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidFrame);
    assert_eq!(refused.to_string(), "processor \"external\": image: got 6x4, expected 5x5");
    assert_eq!(first(&mut chain, 0.5), 0.5);
}

#[test]
fn only_a_control_image_may_have_other_channels() {
    #[derive(Debug)]
    struct Six;
    impl Factory for Six {
        fn start(&self, _: &Map<String, Value>) -> Box<dyn Preprocessor> {
            Box::new(Self)
        }
    }
    impl Preprocessor for Six {
        fn run(&mut self, input: &Image, _: &Context<'_>, output: &mut Image) -> Result<()> {
            output.resize(input.width(), input.height(), 6);
            Ok(())
        }
        fn configure(&mut self, _: &Map<String, Value>) {}
    }
    let registry = Registry::new().with(ProcessorName::TemporalNetTensorrt, Arc::new(Six));
    let six = [recipe(&registry, ProcessorName::TemporalNetTensorrt, json!({}))];
    assert_eq!(run(&mut Chain::start(ChainKind::Control, &six), 0.0).unwrap().channels(), 6);
    let refused = run(&mut Chain::start(ChainKind::Frame, &six), 0.0).unwrap_err();
    assert!(refused.to_string().contains("\"temporal_net_tensorrt\": got 6, expected 3"));
}

//! The parameters requested by a stream's clients, and those that the engine gets for them.

use std::sync::Arc;

use dreamframe::Result as EngineResult;
use dreamframe::load::ModelSource;
use dreamframe::params::{ParamsPatch, StreamDiffusionParams, Weighted, rebase};
use serde_json::json;

use super::fit::{Fitted, fit, model};
use crate::adapt::Level;
use crate::config::Config;
use crate::error::ApiError;
use crate::ids;
use crate::saved::SavedStream;
use crate::wire::Object;
use crate::wire::echo::{self, Alias};
use crate::wire::incoming::{Incoming, check_strictly, in_params};
use crate::wire::models;
use crate::wire::request::Request;
use crate::wire::shown::Shown;
use crate::wire::unknown::Unknown;

/// The parameters that end the adaptation to the speed of the machine when a client sets them.
const ADAPTED: [&str; 3] = ["width", "height", "t_index_list"];

/// The desired parameters of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    /// The parameters; every rule holds.
    params: StreamDiffusionParams,
    /// The engine's parameters for them.
    engine: StreamDiffusionParams,
    /// The level that the engine's parameters have, if size and steps follow the speed of the machine.
    level: Option<Level>,
    /// The seed as it was sent, if the engine has another number for it.
    seed: Option<Alias>,
    /// Unknown keys.
    unknown: Unknown,
    /// The parameters in notices and status, computed once for each change.
    shown: Arc<Shown>,
    /// The URL that pictures are pushed to; empty for none.
    pub(crate) output_rtmp_url: String,
    pub(crate) name: String,
    /// The old pipeline id, if an older client created the stream.
    pub(crate) pipeline_id: Option<String>,
    /// The time of the last change.
    pub(crate) updated_at: Option<u64>,
}

/// The result of a change, before it is applied.
#[derive(Debug)]
pub(crate) struct Change {
    next: Desired,
    /// The parameters for the engine.
    pub(crate) engine: StreamDiffusionParams,
    /// The parameters that differ from before.
    pub(crate) changed: bool,
    /// Messages for the log.
    pub(crate) notes: Vec<String>,
}

impl Change {
    /// The prompt after it.
    pub(crate) fn prompt(&self) -> &Weighted<String> {
        &self.next.params.prompt
    }
}

impl Desired {
    /// The initial parameters of a stream.
    pub(crate) fn new(config: &Config, name: String) -> Self {
        let params = config.default_params();
        let engine = fit(&config.source, &params).params;
        let shown = Arc::new(Shown::new(echo::echo(&params, None)));
        Self {
            params,
            engine,
            level: None,
            seed: None,
            unknown: Unknown::default(),
            shown,
            output_rtmp_url: String::new(),
            name,
            pipeline_id: None,
            updated_at: None,
        }
    }

    /// The parameters of a stream that was stored.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation.
    pub(crate) fn restored(config: &Config, saved: &SavedStream) -> EngineResult<Self> {
        let (params, _) = ParamsPatch::from_value(saved.params.clone().into())?.merge(&config.default_params())?;
        let mut desired = Self {
            engine: fit(&config.source, &params).params,
            seed: saved.seed.clone().map(|wire| Alias { wire, engine: params.seed.clone() }),
            params,
            output_rtmp_url: saved.output_rtmp_url.clone(),
            pipeline_id: saved.pipeline_id.clone(),
            updated_at: saved.updated_at,
            ..Self::new(config, saved.name.clone())
        };
        drop(desired.unknown.keep(saved.unknown.clone().into_iter()));
        desired.level = (saved.adapt && config.adapt).then(|| Level::of(&desired.engine));
        desired.show();
        Ok(desired)
    }

    /// Writes what is stored of these parameters to `saved`.
    pub(crate) fn save(&self, saved: &mut SavedStream) {
        saved.name.clone_from(&self.name);
        saved.adapt = self.level.is_some();
        saved.params = self.params.to_value().as_object().cloned().unwrap_or_default();
        saved.seed =
            self.seed.as_ref().filter(|alias| alias.engine == self.params.seed).map(|alias| alias.wire.clone());
        saved.unknown = self.unknown.kept().clone();
        saved.output_rtmp_url.clone_from(&self.output_rtmp_url);
        saved.pipeline_id.clone_from(&self.pipeline_id);
        saved.updated_at = self.updated_at;
    }

    /// The parameters, as the clients have them.
    pub(crate) fn params(&self) -> &StreamDiffusionParams {
        &self.params
    }

    /// The level of the engine's parameters, if size and steps follow the speed of the machine.
    pub(crate) fn level(&self) -> Option<Level> {
        self.level
    }

    /// The engine's parameters before their size and steps follow the speed of the machine.
    pub(crate) fn unadapted(&self, config: &Config) -> StreamDiffusionParams {
        fit(&config.source, &self.params).params
    }

    /// Changes the level, if there is one.
    pub(crate) fn set_level(&mut self, config: &Config, level: Level) {
        if self.level.is_some() {
            self.level = Some(level);
            self.engine = level.apply(&self.unadapted(config));
        }
    }

    /// Computes the result of `request`, without applying it.
    ///
    /// # Errors
    ///
    /// 400 with every value at fault.
    pub(crate) fn change(&self, config: &Config, request: Request) -> Result<Change, ApiError> {
        let Request { name, output_rtmp_url, pipeline_id, adapt, params, unknown, fade: _ } = request;
        let incoming = Incoming::read(params, &self.params, &config.defaults)?;
        let (merged, notices) = incoming.patch.merge(&self.params).map_err(in_params)?;
        if config.strict {
            check_strictly(&merged)?;
        }
        let is_chosen = incoming.patch.names().any(|name| ADAPTED.contains(&name));
        let adapt = config.adapt && adapt.unwrap_or(self.level.is_some() && !is_chosen);
        let mut change = self.put(config, merged, adapt);
        let Change { next, notes, .. } = &mut change;
        notes.extend(notices.iter().map(ToString::to_string));
        notes.extend(next.unknown.keep(unknown.into_iter().chain(incoming.unknown)));
        if incoming.patch.names().any(|name| name == "seed") {
            next.seed = incoming.seed.map(|wire| Alias { wire, engine: next.params.seed.clone() });
        }
        next.name = name.unwrap_or_else(|| self.name.clone());
        next.output_rtmp_url = output_rtmp_url.unwrap_or_else(|| self.output_rtmp_url.clone());
        next.pipeline_id = pipeline_id.or_else(|| self.pipeline_id.clone());
        Ok(change)
    }

    /// Computes the result of a checked patch, without applying it.
    ///
    /// # Errors
    ///
    /// `InvalidParams` with every violation.
    pub(crate) fn patch(&self, config: &Config, patch: &ParamsPatch) -> EngineResult<Change> {
        Ok(self.put(config, patch.merge(&self.params)?.0, self.level.is_some()))
    }

    fn put(&self, config: &Config, params: StreamDiffusionParams, adapt: bool) -> Change {
        let Fitted { params: engine, remarks } = fit(&config.source, &params);
        // Another size or list of steps begins at its best level.
        let known = self.level.filter(|level| Level::all(&engine).contains(level));
        let level = adapt.then(|| known.unwrap_or_else(|| Level::of(&engine)));
        let engine = level.map_or_else(|| engine.clone(), |level| level.apply(&engine));
        let known = fit(&config.source, &self.params).remarks;
        let changed = params != self.params;
        let next = Self { params, level, ..self.clone() };
        let notes = remarks.into_iter().filter(|remark| !known.contains(remark)).collect();
        Change { next, engine, changed, notes }
    }

    /// Applies `change`, which was computed from these parameters.
    pub(crate) fn take(&mut self, change: Change) {
        let Change { next, engine, changed, .. } = change;
        let updated_at = if changed { Some(ids::now_ms()) } else { self.updated_at };
        // A seed may be written differently without a change.
        let is_shown = !changed && next.seed == self.seed;
        *self = Self { engine, updated_at, ..next };
        if !is_shown {
            self.show();
        }
    }

    /// Reverts what the engine has refused: `engine` has the parameters that it continues with.
    pub(crate) fn take_back(&mut self, engine: StreamDiffusionParams) {
        if engine != self.engine {
            let mut refused = engine.clone();
            if let Some(level) = &mut self.level {
                // The size and the steps were not the client's.
                *level = Level::of(&engine);
                (refused.width, refused.height) = (self.engine.width, self.engine.height);
                refused.t_index_list.clone_from(&self.engine.t_index_list);
            }
            self.params = rebase(&self.engine, &refused, &self.params).params;
            self.engine = engine;
            self.updated_at = Some(ids::now_ms());
            self.show();
        }
    }

    fn show(&mut self) {
        self.shown = Arc::new(Shown::new(self.echo()));
    }

    /// The parameters in notices and status.
    pub(crate) fn shown(&self) -> &Arc<Shown> {
        &self.shown
    }

    /// The parameters that the engine should have.
    pub(crate) fn for_engine(&self) -> &StreamDiffusionParams {
        &self.engine
    }

    /// The parameters as the model's public schema has them.
    pub(crate) fn echo(&self) -> Object {
        echo::echo(&self.params, self.seed.as_ref())
    }

    /// The free-form object: parameters of older clients, unknown keys, and facts about the engine.
    pub(crate) fn pipeline_params(&self, source: &ModelSource) -> Object {
        let mut out = if self.pipeline_id.is_some() { self.echo() } else { Object::new() };
        out.extend(self.unknown.kept().clone());
        let model = model(source, &self.params);
        let mut remarks = fit(source, &self.params).remarks;
        remarks.extend(echo::remarks(&self.engine));
        let Level { width, height, steps } = Level::of(&self.engine);
        let engine = json!({
            "model": model, "remarks": remarks, "adapt": self.level.is_some(), "width": width, "height": height,
            "steps": steps,
        });
        out.insert("engine".into(), engine);
        for name in models::OWN {
            if let Some(value) = self.params.to_value().get(name) {
                out.insert(name.into(), value.clone());
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: serde_json::Value) -> Request {
        Request::read(value.as_object().unwrap().clone()).unwrap()
    }

    fn after(desired: &mut Desired, config: &Config, body: serde_json::Value) -> Vec<String> {
        let change = desired.change(config, read(body)).unwrap();
        let notes = change.notes.clone();
        desired.take(change);
        notes
    }

    #[test]
    fn values_rejected_by_the_engine_are_reverted_and_others_stay() {
        let config = Config::for_tests();
        let mut desired = Desired::new(&config, "x".into());
        let before = desired.for_engine().clone();
        after(&mut desired, &config, json!({"params": {"prompt": "snow", "width": 576}}));
        let refused = StreamDiffusionParams { width: before.width, ..desired.for_engine().clone() };
        desired.take_back(refused);
        assert_eq!(desired.params().width, before.width);
        assert_eq!(desired.params().prompt, "snow".into());
        assert_eq!(desired.params().model_id, "stabilityai/sd-turbo");
    }

    #[test]
    fn adapted_size_and_steps_are_the_engines_alone_until_a_client_sets_them() {
        let config = Config::for_tests();
        let mut desired = Desired::new(&config, "x".into());
        assert_eq!(desired.level(), None);
        after(&mut desired, &config, json!({"adapt": true, "params": {"prompt": "snow"}}));
        let whole = Level::of(desired.params());
        assert_eq!(desired.level(), Some(whole));
        let small = Level { width: 192, height: 192, steps: 1 };
        desired.set_level(&config, small);
        after(&mut desired, &config, json!({"params": {"prompt": "fog"}}));
        assert_eq!((Level::of(desired.for_engine()), Level::of(desired.params())), (small, whole));
        assert_eq!(desired.pipeline_params(&config.source)["engine"]["width"], 192);

        after(&mut desired, &config, json!({"params": {"width": 384, "height": 384}}));
        assert_eq!((desired.level(), desired.for_engine().width), (None, 384));
        desired.set_level(&config, small);
        assert_eq!(desired.for_engine().width, 384);
        after(&mut desired, &config, json!({"adapt": true}));
        assert_eq!(desired.level().map(|level| level.width), Some(384));
        after(&mut desired, &config, json!({"adapt": false}));
        assert_eq!(desired.level(), None);

        let never = Config { adapt: false, ..config };
        after(&mut desired, &never, json!({"adapt": true}));
        assert_eq!(desired.level(), None);
    }

    #[test]
    fn a_refused_level_leaves_the_parameters_as_they_are() {
        let config = Config::for_tests();
        let mut desired = Desired::new(&config, "x".into());
        after(&mut desired, &config, json!({"adapt": true}));
        let small = Level { width: 192, height: 192, steps: 1 };
        desired.set_level(&config, small);
        let before = (desired.params().clone(), desired.for_engine().clone());
        desired.set_level(&config, Level { width: 384, height: 384, steps: 1 });
        desired.take_back(before.1.clone());
        assert_eq!((desired.params().clone(), desired.for_engine().clone()), before);
        assert_eq!(desired.level(), Some(small));
    }

    /// Line 20 of the compatibility checklist.
    #[test]
    fn weighted_prompts_and_seeds_are_returned_as_sent() {
        let config = Config::for_tests();
        let mut desired = Desired::new(&config, "x".into());
        after(
            &mut desired,
            &config,
            json!({"params": {"prompt": [["snow", 0.5], ["fog", 2]], "seed": [[-3, 0.25], [8, 1.5]]}}),
        );
        let echo = desired.echo();
        assert_eq!(echo["prompt"], json!([["snow", 0.5], ["fog", 2.0]]));
        assert_eq!(echo["seed"], json!([[-3, 0.25], [8, 1.5]]));
        after(&mut desired, &config, json!({"params": {"seed": 5}}));
        assert_eq!(desired.echo()["seed"], 5);
        after(&mut desired, &config, json!({"params": {"seed": -1}}));
        after(&mut desired, &config, json!({"params": {"prompt": "rain"}}));
        assert_eq!(desired.echo()["seed"], -1);
    }

    #[test]
    fn what_is_stored_comes_back() {
        let config = Config::for_tests();
        let mut desired = Desired::new(&config, "x".into());
        let body = json!({"name": "n", "adapt": true, "output_rtmp_url": "rtmp://127.0.0.1:1/app/key", "pipeline_id": "pip_SD15", "params": {
            "model_id": "stabilityai/sdxl-turbo", "prompt": [["snow", 0.5], ["fog", 2]], "seed": -3, "delta": 0.1, "odd": 5,
            "t_index_list": [10, 20, 30], "controlnets": [{"model_id": "a/b", "conditioning_scale": 0.3}], "lora_dict": {"a/c": 0.5},
        }});
        after(&mut desired, &config, body);
        let mut saved = SavedStream::for_tests("str_x");
        desired.save(&mut saved);
        let restored = Desired::restored(&config, &saved).unwrap();
        assert_eq!(restored.params(), desired.params());
        assert_eq!((restored.for_engine(), restored.echo()), (desired.for_engine(), desired.echo()));
        assert_eq!(restored.pipeline_params(&config.source), desired.pipeline_params(&config.source));
        let mut again = SavedStream::for_tests("str_x");
        restored.save(&mut again);
        assert_eq!(again, saved);
        saved.params.insert("width".into(), json!(-1));
        assert!(Desired::restored(&config, &saved).unwrap_err().to_string().contains("width"));
    }

    #[test]
    fn change_without_effect_is_reported_and_keeps_the_time() {
        let config = Config::for_tests();
        let desired = Desired::new(&config, "x".into());
        let body = json!({"params": desired.echo()});
        let change = desired.change(&config, read(body)).unwrap();
        assert!(!change.changed && change.engine == *desired.for_engine());
    }

    #[test]
    fn values_without_effect_are_logged_once_and_listed() {
        let config = Config::for_tests();
        let mut desired = Desired::new(&config, "x".into());
        let body = json!({"params": {"model_id": "stabilityai/sdxl-turbo", "shimmer": 3}});
        let notes = after(&mut desired, &config, body.clone());
        assert!(notes.iter().any(|note| note.contains("served by the demo model")), "{notes:?}");
        assert!(notes.iter().any(|note| note.contains("shimmer")));
        let again = after(&mut desired, &config, json!({"params": {"model_id": "stabilityai/sdxl-turbo"}}));
        assert_eq!(again, Vec::<String>::new());
        let shown = desired.pipeline_params(&config.source);
        assert_eq!((&shown["shimmer"], &shown["engine"]["model"]), (&json!(3), &json!("demo")));
    }

    #[test]
    fn unknown_keys_are_limited_and_the_rest_is_logged_once() {
        let config = Config::for_tests();
        let mut desired = Desired::new(&config, "x".into());
        let kept = |desired: &Desired| {
            let shown = desired.pipeline_params(&config.source);
            shown.into_iter().filter(|(key, _)| key.contains("odd")).collect::<Vec<_>>()
        };
        let of = |range: std::ops::Range<u32>| -> Object { range.map(|at| (format!("odd_{at}"), json!(at))).collect() };
        let notes = after(&mut desired, &config, json!({ "params": of(0..40), "odd": of(0..1) }));
        assert_eq!((kept(&desired).len(), notes.len()), (41, 41));
        let notes = after(&mut desired, &config, json!({ "params": of(0..5000) }));
        assert_eq!((kept(&desired).len(), notes.len()), (64, 24), "{notes:?}");
        assert!(notes.last().unwrap().contains("further"), "{notes:?}");
        // Nothing is logged twice, and stored keys can still change.
        let body = json!({"params": {"odd_1": "other", "odd_9000": 1}, "ip_adapter": {"odd": 1}});
        assert_eq!(after(&mut desired, &config, body), Vec::<String>::new());
        assert_eq!(desired.pipeline_params(&config.source)["odd_1"], "other");
        assert_eq!(kept(&desired).len(), 64);
    }

    #[test]
    fn values_of_unknown_keys_are_limited() {
        let config = Config::for_tests();
        let mut desired = Desired::new(&config, "x".into());
        let long = |count: usize| "x".repeat(count);
        after(&mut desired, &config, json!({"params": {"a_odd": long(9000), "b_odd": long(9000), "c_odd": long(100)}}));
        let shown = |desired: &Desired| json!(desired.pipeline_params(&config.source)).to_string();
        assert!(shown(&desired).len() < 16 << 10, "{}", shown(&desired).len());
        assert!(shown(&desired).contains("a_odd") && shown(&desired).contains("c_odd"));
        // If a value has become too long, the old value is not kept either.
        let notes = after(&mut desired, &config, json!({"params": {"a_odd": long(1 << 20)}}));
        assert!(!shown(&desired).contains("a_odd"), "{notes:?}");
        let notes = after(&mut desired, &config, json!({ "params": { long(1 << 20): 1 } }));
        assert!(notes.iter().map(String::len).sum::<usize>() < 1024, "{}", notes.len());
    }
}

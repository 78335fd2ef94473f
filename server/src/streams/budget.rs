//! The memory of sessions, estimated before anything is loaded, so that one that does not fit is refused with numbers.

use std::collections::{BTreeSet, HashMap};
use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dreamframe::params::StreamDiffusionParams;
use dreamframe::{
    Dtype, ExecutorKind, RegionReuse, checkpoint_footprint, controlnet_footprint, cpu, interpolation_footprint,
    region_reuse_footprint,
};

use crate::config::Config;
use crate::error::ApiError;

/// Seconds after which a client may retry.
const RETRY_SECONDS: u32 = 10;
/// The most estimates that are kept.
const KEPT: usize = 64;
/// Bytes of a value between layers.
const VALUE: u64 = 4;

/// The memory that all sessions may have together.
#[derive(Debug)]
pub(crate) struct Budget {
    /// In bytes; `None` for what the system has.
    limit: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The weights of networks in use, in bytes, and the number of their sessions, which share them.
    networks: HashMap<Network, (u64, usize)>,
    /// The bytes of the sessions' own values.
    values: u64,
    /// Reading the configurations of a model takes a moment.
    estimates: HashMap<Key, Estimate>,
}

/// A base model, a ControlNet or a network that interpolates, by its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Network {
    Base(String),
    ControlNet(String),
    Interpolation(String),
}

/// What an estimate depends on: network, id of the base model, width, height and rows.
type Key = (Network, String, u32, u32, usize);

/// Bytes of weights, which sessions share, and of values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Estimate {
    weights: u64,
    values: u64,
}

/// The memory of a session, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    networks: Vec<Network>,
    values: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.values = state.values.saturating_sub(self.values);
        for network in &self.networks {
            if let Some((_, users)) = state.networks.get_mut(network) {
                *users -= 1;
                if *users == 0 {
                    state.networks.remove(network);
                }
            }
        }
    }
}

impl Budget {
    /// Creates one of `limit` bytes, or of what the system has.
    pub(super) fn new(limit: Option<u64>) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves the memory of a session with `params`.
    ///
    /// # Errors
    ///
    /// 503 with the bytes that it needs and those that are available, if it does not fit.
    pub(super) fn reserve(
        self: &Arc<Self>,
        config: &Config,
        params: &StreamDiffusionParams,
    ) -> Result<Reservation, ApiError> {
        let free = self.limit.is_none().then(|| free_memory(config)).flatten();
        let counts = self.limit.is_some() || free.is_some();
        let estimates: Vec<(Network, Estimate)> = networks(params)
            .map(|network| {
                let estimate = if counts { self.estimate(config, params, &network) } else { Estimate::default() };
                (network, estimate)
            })
            .collect();
        let mut state = self.lock();
        let values = estimates.iter().map(|(_, estimate)| estimate.values).fold(0, u64::saturating_add);
        let missing = estimates.iter().filter(|(network, _)| !state.networks.contains_key(network));
        let needed = missing.map(|(_, estimate)| estimate.weights).fold(values, u64::saturating_add);
        let used = state.networks.values().map(|(bytes, _)| *bytes).fold(state.values, u64::saturating_add);
        let left = self.limit.map(|limit| limit.saturating_sub(used)).or(free);
        if let Some(available) = left.filter(|available| *available < needed) {
            return Err(ApiError::no_memory(needed, available, RETRY_SECONDS));
        }
        for (network, estimate) in &estimates {
            state.networks.entry(network.clone()).or_insert((estimate.weights, 0)).1 += 1;
        }
        state.values = state.values.saturating_add(values);
        let networks = estimates.into_iter().map(|(network, _)| network).collect();
        Ok(Reservation { budget: self.clone(), networks, values })
    }

    fn estimate(&self, config: &Config, params: &StreamDiffusionParams, network: &Network) -> Estimate {
        let (width, height, rows) = (params.width, params.height, params.t_index_list.len());
        let key = (network.clone(), params.model_id.clone(), width, height, rows);
        if let Some(known) = self.lock().estimates.get(&key) {
            return *known;
        }
        // A network that cannot be read is refused with its reason when it is loaded.
        let Ok([weights, values]) = elements(config, params, network) else { return Estimate::default() };
        // Forms for convolutions with fewer multiplications are larger, in about half of the weights.
        let packed = |bytes: u64| (weights as u64).saturating_mul(bytes) / 2 * 3;
        let values = (values as u64).saturating_mul(VALUE);
        let estimate = match network {
            Network::Base(_) | Network::ControlNet(_) => {
                Estimate { weights: packed(weight_bytes(config.engine.dtype)), values }
            }
            // In f32, and each session has its own.
            Network::Interpolation(_) => Estimate { weights: 0, values: values.saturating_add(packed(4)) },
        };
        let mut state = self.lock();
        if state.estimates.len() >= KEPT {
            state.estimates.clear();
        }
        state.estimates.insert(key, estimate);
        estimate
    }
}

/// The networks that a session with `params` loads and this budget counts: the base model, the enabled ControlNets and
/// the network that interpolates, each once.
fn networks(params: &StreamDiffusionParams) -> impl Iterator<Item = Network> {
    let enabled = params.controlnets.iter().filter(|net| net.enabled).map(|net| &net.model_id);
    let controlnets: BTreeSet<&String> = enabled.collect();
    let base = Network::Base(params.model_id.clone());
    let interpolation = params.interpolation.model_id.clone().map(Network::Interpolation);
    iter::once(base).chain(controlnets.into_iter().cloned().map(Network::ControlNet)).chain(interpolation)
}

/// The elements of the weights and values of a network, for the size and the rows of `params`.
fn elements(config: &Config, params: &StreamDiffusionParams, network: &Network) -> dreamframe::Result<[usize; 2]> {
    let checkpoint = || Ok::<_, dreamframe::Error>(config.source.base(&params.model_id.parse()?)?.checkpoint);
    let (size, rows) = ((params.width, params.height), params.t_index_list.len());
    let footprint = match network {
        Network::Base(_) if config.engine.region_reuse == RegionReuse::Off => {
            checkpoint_footprint(&checkpoint()?, size, rows)?
        }
        Network::Base(_) => {
            let checkpoint = checkpoint()?;
            checkpoint_footprint(&checkpoint, size, rows)?.plus(region_reuse_footprint(&checkpoint, size)?)
        }
        Network::ControlNet(id) => controlnet_footprint(&config.source, &id.parse()?, &checkpoint()?, size, rows)?,
        Network::Interpolation(id) => interpolation_footprint(&config.source, &id.parse()?, size)?,
    };
    Ok([footprint.weights, footprint.values])
}

/// The bytes of a weight.
fn weight_bytes(dtype: Dtype) -> u64 {
    let dtype = if dtype == Dtype::Auto { cpu::fastest_dtype() } else { dtype };
    dtype.bytes() as u64
}

/// The memory of this machine that is available, if networks run on its processor.
fn free_memory(config: &Config) -> Option<u64> {
    match config.engine.executor {
        ExecutorKind::Cpu | ExecutorKind::Reference => cpu::available_memory(),
        // The memory of a GPU is not known before its device is opened.
        ExecutorKind::Auto | ExecutorKind::Onnx | _ => None,
    }
}

#[cfg(test)]
mod tests {
    use dreamframe::ModelSource;
    use dreamframe_tests::controlnets::{Folder, RIFE};
    use serde_json::{Value, json};

    use super::*;

    fn estimate(config: &Config, params: &StreamDiffusionParams, network: &Network) -> Estimate {
        Budget::new(Some(u64::MAX)).estimate(config, params, network)
    }

    fn params(width: u32) -> StreamDiffusionParams {
        StreamDiffusionParams { width, height: 512, ..StreamDiffusionParams::demo() }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers_until_something_ends() {
        let config = Config::for_tests();
        let one = estimate(&config, &params(512), &Network::Base(params(512).model_id));
        assert!(one.weights > 1 << 20 && one.values > 1 << 20, "{one:?}");
        // Two sessions share the weights.
        let limit = one.weights + 2 * one.values;
        let budget = Budget::new(Some(limit));
        let first = budget.reserve(&config, &params(512)).unwrap();
        let second = budget.reserve(&config, &params(512)).unwrap();
        let refused = budget.reserve(&config, &params(512)).unwrap_err();
        assert_eq!(refused.status(), 503);
        assert_eq!(
            (&refused.details()["needed_bytes"], &refused.details()["available_bytes"]),
            (&one.values.into(), &0.into())
        );
        drop(second);
        drop(budget.reserve(&config, &params(512)).unwrap());
        drop(first);
        // A larger picture needs more.
        let refused = budget.reserve(&config, &params(2048)).unwrap_err();
        assert_eq!(refused.details()["available_bytes"], limit);
        assert!(budget.lock().networks.is_empty() && budget.lock().values == 0);
    }

    #[test]
    fn values_that_are_kept_for_unchanged_regions_count() {
        let mut config = Config::for_tests();
        let base = Network::Base(params(512).model_id);
        let without = estimate(&config, &params(512), &base);
        config.engine.region_reuse = RegionReuse::Exact;
        let with = estimate(&config, &params(512), &base);
        assert_eq!(with.weights, without.weights);
        assert!(with.values > without.values + (1 << 26), "{without:?} {with:?}");
    }

    #[test]
    fn enabled_controlnets_count_with_weights_that_sessions_share() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::new(parent.path().to_str().unwrap(), "budget");
        folder.controlnet("net", 1);
        let mut config = Config::for_tests();
        config.source = ModelSource::folder(folder.path());
        let with = |net: Value| {
            let params = StreamDiffusionParams { model_id: "demo".into(), ..params(512) };
            params.patched(&json!({ "controlnets": [net] }).to_string()).unwrap().0
        };
        let controlled = with(json!({"model_id": "net"}));
        let base = estimate(&config, &controlled, &Network::Base("demo".into()));
        let net = estimate(&config, &controlled, &Network::ControlNet("net".into()));
        assert!(net.weights > 0 && net.values > 0 && base.weights > 0, "{base:?} {net:?}");
        let limit = base.weights + net.weights + 2 * (base.values + net.values);
        let budget = Budget::new(Some(limit));
        let [first, second] = [(); 2].map(|()| budget.reserve(&config, &controlled).unwrap());
        let refused = budget.reserve(&config, &controlled).unwrap_err();
        assert_eq!(refused.details()["needed_bytes"], base.values + net.values);
        drop(second);
        // A disabled one is not loaded.
        let plain = with(json!({"model_id": "net", "enabled": false}));
        assert_eq!(networks(&plain).count(), 1);
        drop(budget.reserve(&config, &plain).unwrap());
        drop(first);
        assert!(budget.lock().networks.is_empty() && budget.lock().values == 0);
        // One byte less than the model and the ControlNet need.
        let short = Budget::new(Some(base.weights + net.weights + base.values + net.values - 1));
        assert!(short.reserve(&config, &controlled).is_err() && short.reserve(&config, &plain).is_ok());
        // What is missing is refused with its reason when it is loaded.
        assert!(short.reserve(&config, &with(json!({"model_id": "missing"}))).is_ok());
    }

    #[test]
    fn each_session_has_a_network_of_its_own_that_interpolates() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::new(parent.path().to_str().unwrap(), "budget");
        folder.rife();
        let mut config = Config::for_tests();
        config.source = ModelSource::folder(folder.path());
        let with = |id: &str| {
            let params = StreamDiffusionParams { model_id: "demo".into(), ..params(512) };
            params.patched(&json!({"interpolation": {"model_id": id}}).to_string()).unwrap().0
        };
        let params = with(RIFE[0]);
        let base = estimate(&config, &params, &Network::Base("demo".into()));
        let network = estimate(&config, &params, &Network::Interpolation(RIFE[0].into()));
        // At least both pictures and a flow of each.
        assert!(network.weights == 0 && network.values > 10 * 4 * 512 * 512, "{network:?}");
        let budget = Budget::new(Some(base.weights + 2 * (base.values + network.values)));
        let sessions = [(); 2].map(|()| budget.reserve(&config, &params).unwrap());
        let refused = budget.reserve(&config, &params).unwrap_err();
        assert_eq!(refused.details()["needed_bytes"], base.values + network.values);
        drop(sessions);
        assert!(budget.lock().networks.is_empty() && budget.lock().values == 0);
        // What is missing is refused with its reason when it is loaded.
        assert!(Budget::new(Some(base.weights + base.values)).reserve(&config, &with("missing")).is_ok());
    }

    #[test]
    fn without_a_limit_the_memory_of_this_machine_counts_on_its_processor_alone() {
        let mut config = Config::for_tests();
        for executor in [ExecutorKind::Auto, ExecutorKind::Cpu] {
            config.engine.executor = executor;
            assert!(Budget::new(None).reserve(&config, &params(512)).is_ok(), "{executor}");
        }
        assert_eq!(free_memory(&config).is_some(), cpu::available_memory().is_some());
        config.engine.executor = ExecutorKind::Onnx;
        assert_eq!(free_memory(&config), None);
    }
}

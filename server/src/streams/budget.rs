//! The memory of sessions, estimated before anything is loaded, so that one that does not fit is refused with numbers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dreamframe::params::StreamDiffusionParams;
use dreamframe::{Dtype, ExecutorKind, checkpoint_footprint, cpu};

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
    /// The weights of models in use, in bytes, and the number of their sessions, which share them.
    models: HashMap<String, (u64, usize)>,
    /// The bytes of the sessions' own values.
    values: u64,
    /// Reading the configurations of a model takes a moment.
    estimates: HashMap<Key, Estimate>,
}

/// What an estimate depends on: model, width, height and rows.
type Key = (String, u32, u32, usize);

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
    model: String,
    values: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.values = state.values.saturating_sub(self.values);
        if let Some((_, users)) = state.models.get_mut(&self.model) {
            *users -= 1;
            if *users == 0 {
                state.models.remove(&self.model);
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
        let estimate =
            if self.limit.is_none() && free.is_none() { Estimate::default() } else { self.estimate(config, params) };
        let mut state = self.lock();
        let loaded = state.models.contains_key(&params.model_id);
        let needed = estimate.values.saturating_add(if loaded { 0 } else { estimate.weights });
        let used = state.models.values().map(|(bytes, _)| *bytes).fold(state.values, u64::saturating_add);
        let left = self.limit.map(|limit| limit.saturating_sub(used)).or(free);
        if let Some(available) = left.filter(|available| *available < needed) {
            return Err(ApiError::no_memory(needed, available, RETRY_SECONDS));
        }
        state.models.entry(params.model_id.clone()).or_insert((estimate.weights, 0)).1 += 1;
        state.values = state.values.saturating_add(estimate.values);
        Ok(Reservation { budget: self.clone(), model: params.model_id.clone(), values: estimate.values })
    }

    fn estimate(&self, config: &Config, params: &StreamDiffusionParams) -> Estimate {
        let key = (params.model_id.clone(), params.width, params.height, params.t_index_list.len());
        if let Some(known) = self.lock().estimates.get(&key) {
            return *known;
        }
        let found = params.model_id.parse().and_then(|id| config.source.base(&id));
        let footprint = found.and_then(|found| checkpoint_footprint(&found.checkpoint, (key.1, key.2), key.3));
        // A model that cannot be read is refused with its reason when it is loaded.
        let Ok(footprint) = footprint else { return Estimate::default() };
        // Forms for convolutions with fewer multiplications are larger, in about half of the weights.
        let weights = (footprint.weights as u64).saturating_mul(weight_bytes(config.engine.dtype)) / 2 * 3;
        let estimate = Estimate { weights, values: (footprint.values as u64).saturating_mul(VALUE) };
        let mut state = self.lock();
        if state.estimates.len() >= KEPT {
            state.estimates.clear();
        }
        state.estimates.insert(key, estimate);
        estimate
    }
}

/// The bytes of a weight.
fn weight_bytes(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F32 => 4,
        Dtype::F16 | Dtype::Bf16 | Dtype::Int8 => 2,
        Dtype::Auto | _ => {
            if cpu::fastest_dtype() == Dtype::F32 {
                4
            } else {
                2
            }
        }
    }
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
    use super::*;

    fn params(width: u32) -> StreamDiffusionParams {
        StreamDiffusionParams { width, height: 512, ..StreamDiffusionParams::demo() }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers_until_something_ends() {
        let config = Config::for_tests();
        let one = Budget::new(Some(u64::MAX)).estimate(&config, &params(512));
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
        assert!(budget.lock().models.is_empty() && budget.lock().values == 0);
    }

    #[test]
    fn without_a_limit_the_memory_of_this_machine_counts_on_its_processor_alone() {
        let mut config = Config::for_tests();
        for executor in [ExecutorKind::Auto, ExecutorKind::Cpu] {
            config.engine.executor = executor;
            assert!(Budget::new(None).reserve(&config, &params(512)).is_ok(), "{executor}");
        }
        assert_eq!(free_memory(&config).is_some(), cfg!(target_os = "linux"));
        config.engine.executor = ExecutorKind::Onnx;
        assert_eq!(free_memory(&config), None);
    }
}

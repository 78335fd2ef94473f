//! How much of the models of a stream is loaded.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dreamframe::load::ModelSource;
use dreamframe::params::StreamDiffusionParams;
use dreamframe::{Progress, checkpoint_footprint};

/// Until pictures are made, not everything is done.
const MOST: u8 = 99;

/// The progress of loading, reported by the threads that load.
#[derive(Debug, Default)]
pub(crate) struct LoadProgress {
    loading: Mutex<Option<Loading>>,
}

#[derive(Debug, Default)]
struct Loading {
    /// The weights of the model, as far as they are known before.
    expected: u64,
    /// The networks so far.
    networks: Vec<Network>,
    percent: u8,
}

#[derive(Debug)]
struct Network {
    name: String,
    done: u64,
    total: u64,
}

/// The number of weights of the model of `params`, if its configuration can be read.
pub(super) fn expected_weights(source: &ModelSource, params: &StreamDiffusionParams) -> u64 {
    let found = params.model_id.parse().and_then(|id| source.base(&id));
    let footprint = found.and_then(|found| checkpoint_footprint(&found.checkpoint, (params.width, params.height), 1));
    footprint.map_or(0, |footprint| footprint.weights as u64)
}

impl LoadProgress {
    fn lock(&self) -> MutexGuard<'_, Option<Loading>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with a model of `expected` weights, or of an unknown number.
    pub(super) fn begin(&self, expected: u64) {
        *self.lock() = Some(Loading { expected, ..Loading::default() });
    }

    /// Takes a report; begins, unless that was done.
    pub(super) fn report(&self, progress: &Progress<'_>) {
        self.lock().get_or_insert_default().report(progress.component, progress.done, progress.total);
    }

    /// Ends: everything is loaded, or nothing more will be.
    pub(super) fn end(&self) {
        *self.lock() = None;
    }

    /// How much is loaded, from 0 to 99; `None` while nothing is being loaded.
    pub(crate) fn percent(&self) -> Option<u8> {
        self.lock().as_ref().map(|loading| loading.percent)
    }
}

impl Loading {
    fn report(&mut self, name: &str, done: u64, total: u64) {
        // Of two networks of one kind, the later one begins again with fewer weights.
        let known = self.networks.iter_mut().rev().find(|network| network.name == name);
        match known.filter(|network| network.total == total && network.done <= done) {
            Some(network) => network.done = done,
            None => self.networks.push(Network { name: name.to_owned(), done, total }),
        }
        let sum = |of: fn(&Network) -> u64| self.networks.iter().map(of).fold(0, u64::saturating_add);
        let (done, total) = (sum(|network| network.done), sum(|network| network.total).max(self.expected).max(1));
        let percent = u128::from(done) * 100 / u128::from(total);
        // A further network makes the whole larger, and nothing that was loaded less.
        self.percent = u8::try_from(percent).unwrap_or(MOST).clamp(self.percent, MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentage_is_of_all_networks_and_never_falls() {
        let mut loading = Loading { expected: 1000, ..Loading::default() };
        let mut after = |name: &str, done, total| {
            loading.report(name, done, total);
            loading.percent
        };
        assert_eq!(after("text", 0, 200), 0);
        assert_eq!(after("text", 200, 200), 20);
        assert_eq!(after("unet", 400, 800), 60);
        assert_eq!(after("unet", 800, 800), 99);
        assert_eq!(after("controlnet", 0, 1000), 99);
    }

    #[test]
    fn networks_of_one_kind_are_added_up() {
        let mut loading = Loading::default();
        for (done, total) in [(50, 100), (100, 100), (10, 100), (60, 300)] {
            loading.report("ControlNetModel", done, total);
        }
        // 100 of 100, 10 of 100 and 60 of 300.
        let done: u64 = loading.networks.iter().map(|network| network.done).sum();
        assert_eq!((loading.networks.len(), done), (3, 170));
    }

    #[test]
    fn nothing_is_shown_before_and_after() {
        let progress = LoadProgress::default();
        assert_eq!(progress.percent(), None);
        progress.begin(10);
        assert_eq!(progress.percent(), Some(0));
        progress.end();
        assert_eq!(progress.percent(), None);
    }

    #[test]
    fn the_weights_of_the_demo_model_are_known_before_it_is_loaded() {
        let params = StreamDiffusionParams::demo();
        assert!(expected_weights(&ModelSource::Demo, &params) > 1_000_000);
        let absent = StreamDiffusionParams { model_id: "none/such".into(), ..params };
        assert_eq!(expected_weights(&ModelSource::from("/nowhere"), &absent), 0);
    }
}

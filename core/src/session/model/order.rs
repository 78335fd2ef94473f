//! The order of updates: for all schedules, exactly the accepted updates are applied, and later values win.

use std::sync::Arc;

use super::engine_traits::Preparer;
use super::event_log::{End, EventLog};
use super::notifier::Notifier;
use super::updates::Ticket;
use super::updates::channel::{Command, Delivery, Failure, UpdateChannel};
use super::updates::job::Lane;
use super::updates::queue::UpdateQueue;
use super::updates::worker;
use crate::conditioning::transition::Transition;
use crate::error::{Error, ErrorKind, Result};
use crate::params::{ControlNetConfig, Interpolation, StreamDiffusionParams};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};

type Params = StreamDiffusionParams;

const SCHEDULES: usize = 400;

/// Bytes of a thread's stack: shuttle's 60 KiB are too few for the parameter code where it is not optimised.
const STACK: usize = 1 << 20;

pub(super) fn check_random(play: impl Fn() + Send + Sync + 'static, schedules: usize) {
    check(RandomScheduler::new(schedules), play);
}

pub(super) fn check_pct(play: impl Fn() + Send + Sync + 'static, schedules: usize, depth: usize) {
    check(PctScheduler::new(depth, schedules), play);
}

fn check(scheduler: impl Scheduler + 'static, play: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK;
    Runner::new(scheduler, config).run(play);
}
/// A `delta` that the session's thread cannot apply.
const UNFIT: f64 = 9.0;

/// Builds nothing; each step yields to other threads.
#[derive(Debug, Clone)]
struct Model;

/// Parameters, and how many steps of a transition are left.
#[derive(Debug)]
struct Pipeline {
    params: Params,
    left: u32,
}

#[derive(Debug)]
struct Prepared {
    base: Option<Arc<Pipeline>>,
    pipeline: Arc<Pipeline>,
}

impl Prepared {
    fn new(base: Option<&Arc<Pipeline>>, params: Params, left: u32) -> Self {
        Self { base: base.cloned(), pipeline: Arc::new(Pipeline { params, left }) }
    }
}

impl Preparer for Model {
    type Prepared = Prepared;
    type Snapshot = Arc<Pipeline>;

    fn prepare(&self, params: &Params, base: Option<&Arc<Pipeline>>, _: &[&Arc<Pipeline>]) -> Result<Prepared> {
        thread::yield_now();
        params.validate()?;
        let missing = params.controlnets.iter().any(|net| net.model_id == "missing");
        let beside = base.is_some_and(|base| base.params.model_id != params.model_id);
        if missing || (params.model_id == "huge" && beside) {
            let kind = if missing { ErrorKind::NotFound } else { ErrorKind::OutOfMemory };
            return Err(Error::new(kind, "not made"));
        }
        let left = base.filter(|base| base.params.prompt == params.prompt).map_or(0, |base| base.left);
        Ok(Prepared::new(base, params.clone(), left))
    }

    fn transition(&self, base: &Arc<Pipeline>, transition: &Transition) -> Result<Prepared> {
        thread::yield_now();
        let params = Params { prompt: transition.target_prompts.clone(), ..base.params.clone() };
        Ok(Prepared::new(Some(base), params, transition.num_steps.saturating_sub(1)))
    }

    fn step(&self, base: &Arc<Pipeline>) -> Result<Option<Prepared>> {
        thread::yield_now();
        Ok((base.left > 0).then(|| Prepared::new(Some(base), base.params.clone(), base.left - 1)))
    }

    fn progress(pipeline: &Arc<Pipeline>) -> Option<(u32, u32)> {
        (pipeline.left > 0).then_some((0, pipeline.left))
    }

    fn snapshot(prepared: &Prepared) -> Arc<Pipeline> {
        prepared.pipeline.clone()
    }

    fn is_short(&self, _: &Arc<Pipeline>, _: &Params) -> bool {
        false
    }
}

/// The session's thread without frames: the update in use, and its sequence number.
struct Session {
    active: Option<Arc<Pipeline>>,
    applied: u64,
}

impl Session {
    fn obey(&mut self, channel: &UpdateChannel<Model>, event_log: &EventLog, command: Command<Model>) {
        match command {
            Command::Release => {
                self.active = None;
                channel.send_released();
            }
            Command::Apply(delivery) if delivery.base != self.applied => channel.give_back(delivery.prepared),
            Command::Apply(Delivery { seq, version, prepared, .. }) => {
                let same = match (&self.active, &prepared.base) {
                    (Some(active), Some(base)) => Arc::ptr_eq(active, base),
                    (None, None) => true,
                    (None, Some(_)) | (Some(_), None) => false,
                };
                assert!(same, "made onto something that is not in use");
                if prepared.pipeline.params.delta == UNFIT {
                    let (snapshot, error) = (self.active.clone(), Error::new(ErrorKind::OutOfMemory, "not applied"));
                    let params = snapshot.as_deref().map_or_else(Params::demo, |active| active.params.clone());
                    channel.send_failed(Failure { seq, error, params, snapshot }, prepared);
                    return;
                }
                (self.active, self.applied) = (Some(prepared.pipeline.clone()), seq);
                channel.send_applied(seq, prepared);
                // A frame follows each update.
                channel.send_framed(seq);
                version.into_iter().for_each(|version| event_log.applied(version, Vec::new()));
            }
        }
    }
}

/// An action of a host.
#[derive(Clone, Copy)]
enum Ask {
    Edit(fn(&mut Params)),
    /// A transition to a prompt, with the number of steps.
    TransitionState(&'static str, u32),
}

fn ask(queue: &UpdateQueue<Model>, ask: Ask) -> Result<Ticket> {
    match ask {
        Ask::Edit(update) => queue.update(|desired| {
            let mut params = desired.clone();
            update(&mut params);
            params.validate()?;
            Ok((params, Vec::new()))
        }),
        Ask::TransitionState(prompt, num_steps) => {
            let way = Transition {
                target_prompts: prompt.into(),
                num_steps,
                temporal_interpolation_method: Interpolation::Linear,
            };
            queue.transition(&way, Params::validate)
        }
    }
}

/// Makes `updates`, each list on a separate thread, and returns how each ended and the parameters in use at the end.
fn play(updates: Vec<Vec<fn(&mut Params)>>) -> (Vec<End>, Params) {
    play_all(updates.into_iter().map(|host| host.into_iter().map(Ask::Edit).collect()).collect())
}

fn play_all(asks: Vec<Vec<Ask>>) -> (Vec<End>, Params) {
    let (event_log, wake) = (Arc::new(EventLog::new()), Arc::new(Notifier::new()));
    let channel = Arc::new(UpdateChannel::new(wake.clone()));
    let start = Arc::new(Pipeline { params: Params::demo(), left: 0 });
    let queue: Arc<UpdateQueue<Model>> =
        Arc::new(UpdateQueue::new(start.params.clone(), Some(start.clone()), channel.clone(), event_log.clone()));
    let workers: Vec<_> = [Lane::Quick, Lane::Load]
        .into_iter()
        .map(|lane| {
            let queue = queue.clone();
            thread::spawn(move || worker::run(&queue, &Model, lane))
        })
        .collect();
    let session = {
        let (queue, event_log) = (queue.clone(), event_log.clone());
        thread::spawn(move || {
            let mut session = Session { active: Some(start), applied: 0 };
            loop {
                let next = || channel.command().map(Some).or_else(|| queue.is_closed().then_some(None));
                match wake.wait_until(None, next).flatten() {
                    Some(command) => session.obey(&channel, &event_log, command),
                    None => return session.active,
                }
            }
        })
    };
    let hosts: Vec<_> = asks
        .into_iter()
        .map(|asks| {
            let queue = queue.clone();
            thread::spawn(move || {
                let tickets = asks.into_iter().map(|wanted| ask(&queue, wanted));
                tickets.filter(|ticket| ticket.as_ref().is_ok_and(|ticket| ticket.cost.is_some())).count()
            })
        })
        .collect();
    let accepted: usize = hosts.into_iter().map(|host| host.join().unwrap()).sum();
    let end = |version| event_log.news.wait_until(None, || event_log.end(version).unwrap()).unwrap();
    let ends = (1..=accepted as u64).map(end).collect();
    let desired = queue.desired().1;
    // All steps are done.
    queue.channel.work.wait_until(None, || queue.progress().is_none().then_some(()));
    queue.close();
    queue.channel.wake.notify();
    let active = session.join().unwrap();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let active = active.expect("something is in use");
    assert_eq!(active.params, *desired, "what is in use is what is desired");
    (ends, active.params.clone())
}

fn add(params: &mut Params, name: &str) {
    params.controlnets.push(ControlNetConfig::new(name));
}

#[test]
fn slider_and_load_are_both_applied_and_the_later_value_wins() {
    check_random(
        || {
            let load: fn(&mut Params) = |params| {
                add(params, "a");
                params.delta = 0.2;
            };
            let (ends, params) = play(vec![vec![load, |params| params.delta = 0.9, |params| params.seed = 4.into()]]);
            assert_eq!(ends, [End::Applied; 3]);
            assert_eq!((params.controlnets.len(), params.delta), (1, 0.9));
        },
        SCHEDULES,
    );
}

#[test]
fn failed_updates_have_no_effect() {
    check_random(
        || {
            let updates: Vec<fn(&mut Params)> =
                vec![|params| add(params, "missing"), |params| params.delta = UNFIT, |params| {
                    params.guidance_scale = 1.5
                }];
            let (ends, params) = play(vec![updates]);
            assert_eq!(ends, [End::Rejected, End::Rejected, End::Applied]);
            let expected = Params { guidance_scale: 1.5, ..Params::demo() };
            assert_eq!(params, expected);
        },
        SCHEDULES,
    );
}

#[test]
fn item_and_its_fields_are_applied_in_order() {
    check_random(
        || {
            let updates: Vec<fn(&mut Params)> = vec![
                |params| add(params, "a"),
                |params| params.controlnets[0].conditioning_scale = 0.5,
                |params| add(params, "b"),
                |params| params.controlnets[0].conditioning_scale = 0.25,
            ];
            let (ends, params) = play(vec![updates]);
            assert!(!ends.contains(&End::Rejected), "{ends:?}");
            assert_eq!((params.controlnets.len(), params.controlnets[0].conditioning_scale), (2, 0.25));
        },
        SCHEDULES,
    );
}

#[test]
fn model_that_needs_release_loads_during_updates_of_two_hosts() {
    check_pct(
        || {
            let one: Vec<fn(&mut Params)> = vec![|params| params.model_id = "huge".into(), |params| params.delta = 0.9];
            let (ends, params) = play(vec![one, vec![|params| params.guidance_scale = 1.5]]);
            assert_eq!(ends, [End::Applied; 3]);
            assert_eq!((params.model_id.as_str(), params.delta, params.guidance_scale), ("huge", 0.9, 1.5));
        },
        SCHEDULES,
        3,
    );
}

#[test]
fn a_transition_reaches_its_target_while_sliders_move_and_a_model_comes() {
    check_random(
        || {
            let one = vec![Ask::TransitionState("snow", 4), Ask::Edit(|params| params.delta = 0.9)];
            let two = vec![
                Ask::Edit(|params| params.model_id = "other".into()),
                Ask::Edit(|params| params.guidance_scale = 1.5),
            ];
            let (ends, params) = play_all(vec![one, two]);
            assert_eq!(ends, [End::Applied; 4]);
            assert_eq!((params.prompt, params.delta), ("snow".into(), 0.9));
            assert_eq!((params.model_id.as_str(), params.guidance_scale), ("other", 1.5));
        },
        SCHEDULES,
    );
}

#[test]
fn the_last_of_several_prompts_counts_however_it_is_reached() {
    check_random(
        || {
            let asks = vec![
                Ask::TransitionState("snow", 3),
                Ask::Edit(|params| params.model_id = "huge".into()),
                Ask::TransitionState("fog", 2),
                Ask::Edit(|params| params.prompt = "rain".into()),
                Ask::TransitionState("night", 3),
            ];
            let (ends, params) = play_all(vec![asks]);
            assert!(!ends.contains(&End::Rejected), "{ends:?}");
            assert_eq!((params.prompt, params.model_id.as_str()), ("night".into(), "huge"));
        },
        SCHEDULES,
    );
}

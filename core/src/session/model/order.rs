//! The order of updates: whatever the threads do, what is applied is what was accepted, and later values win.

use std::sync::Arc;

use super::bell::Bell;
use super::machine::Bench;
use super::reports::{End, Reports};
use super::updates::desk::Desk;
use super::updates::job::Lane;
use super::updates::line::{Command, Delivery, Failure, Line};
use super::updates::worker;
use crate::error::{Error, ErrorKind, Result};
use crate::params::{ControlNetConfig, StreamDiffusionParams};
use shuttle::thread;

type Params = StreamDiffusionParams;

const SCHEDULES: usize = 400;
/// A `delta` that the session's thread cannot apply.
const UNFIT: f64 = 9.0;

/// Makes nothing; each step lets other threads go on.
#[derive(Debug, Clone)]
struct Model;

#[derive(Debug)]
struct Prepared {
    base: Option<Arc<Params>>,
    params: Arc<Params>,
}

impl Bench for Model {
    type Prepared = Prepared;
    type Snapshot = Arc<Params>;

    fn prepare(&self, params: &Params, base: Option<&Arc<Params>>, _: &[&Arc<Params>]) -> Result<Prepared> {
        thread::yield_now();
        params.validate()?;
        let missing = params.controlnets.iter().any(|net| net.model_id == "missing");
        let beside = base.is_some_and(|base| base.model_id != params.model_id);
        if missing || (params.model_id == "huge" && beside) {
            let kind = if missing { ErrorKind::NotFound } else { ErrorKind::OutOfMemory };
            return Err(Error::new(kind, "not made"));
        }
        Ok(Prepared { base: base.cloned(), params: Arc::new(params.clone()) })
    }

    fn snapshot(prepared: &Prepared) -> Arc<Params> {
        prepared.params.clone()
    }

    fn is_short(&self, _: &Arc<Params>, _: &Params) -> bool {
        false
    }
}

/// The session's thread without frames: what is in use, and its place in the order.
struct Session {
    active: Option<Arc<Params>>,
    applied: u64,
}

impl Session {
    fn obey(&mut self, line: &Line<Model>, reports: &Reports, command: Command<Model>) {
        match command {
            Command::Release => {
                self.active = None;
                line.say_released();
            }
            Command::Apply(delivery) if delivery.base != self.applied => line.give_back(delivery.prepared),
            Command::Apply(Delivery { seq, version, prepared, .. }) => {
                let same = match (&self.active, &prepared.base) {
                    (Some(active), Some(base)) => Arc::ptr_eq(active, base),
                    (None, None) => true,
                    (None, Some(_)) | (Some(_), None) => false,
                };
                assert!(same, "made onto something that is not in use");
                if prepared.params.delta == UNFIT {
                    let (snapshot, error) = (self.active.clone(), Error::new(ErrorKind::OutOfMemory, "not applied"));
                    let params = snapshot.as_deref().cloned().unwrap_or_else(Params::demo);
                    line.say_failed(Failure { seq, error, params, snapshot }, prepared);
                    return;
                }
                (self.active, self.applied) = (Some(prepared.params.clone()), seq);
                line.say_applied(seq, prepared);
                version.into_iter().for_each(|version| reports.applied(version, Vec::new()));
            }
        }
    }
}

/// Lets hosts make `updates`, each list on a thread of its own, and gives how each ended and what is in use then.
fn play(updates: Vec<Vec<fn(&mut Params)>>) -> (Vec<End>, Params) {
    let (reports, doorbell) = (Arc::new(Reports::new()), Arc::new(Bell::new()));
    let line = Arc::new(Line::new(doorbell.clone()));
    let start = Arc::new(Params::demo());
    let desk: Arc<Desk<Model>> =
        Arc::new(Desk::new((*start).clone(), Some(start.clone()), line.clone(), reports.clone()));
    let workers: Vec<_> = [Lane::Quick, Lane::Load]
        .into_iter()
        .map(|lane| {
            let desk = desk.clone();
            thread::spawn(move || worker::run(&desk, &Model, lane))
        })
        .collect();
    let session = {
        let (desk, reports) = (desk.clone(), reports.clone());
        thread::spawn(move || {
            let mut session = Session { active: Some(start), applied: 0 };
            loop {
                let next = || line.command().map(Some).or_else(|| desk.is_closed().then_some(None));
                match doorbell.wait_until(None, next).flatten() {
                    Some(command) => session.obey(&line, &reports, command),
                    None => return session.active,
                }
            }
        })
    };
    let hosts: Vec<_> = updates
        .into_iter()
        .map(|updates| {
            let desk = desk.clone();
            thread::spawn(move || {
                let make = |update: fn(&mut Params)| {
                    desk.update(|desired| {
                        let mut params = desired.clone();
                        update(&mut params);
                        params.validate()?;
                        Ok((params, Vec::new()))
                    })
                };
                let tickets = updates.into_iter().map(make);
                tickets.filter(|ticket| ticket.as_ref().is_ok_and(|ticket| ticket.cost.is_some())).count()
            })
        })
        .collect();
    let accepted: usize = hosts.into_iter().map(|host| host.join().unwrap()).sum();
    let end = |version| reports.news.wait_until(None, || reports.end(version).unwrap()).unwrap();
    let ends = (1..=accepted as u64).map(end).collect();
    let desired = desk.desired().1;
    desk.close();
    desk.line.doorbell.ring();
    let active = session.join().unwrap();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let active = active.expect("something is in use");
    assert_eq!(active, desired, "what is in use is what is desired");
    (ends, (*active).clone())
}

fn add(params: &mut Params, name: &str) {
    params.controlnets.push(ControlNetConfig::new(name));
}

#[test]
fn a_slider_and_a_load_both_count_in_the_end_and_the_later_value_wins() {
    shuttle::check_random(
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
fn what_cannot_be_made_or_applied_leaves_no_trace() {
    shuttle::check_random(
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
fn an_item_and_what_is_inside_it_arrive_in_order() {
    shuttle::check_random(
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
fn a_model_without_room_comes_while_two_hosts_move_sliders() {
    shuttle::check_pct(
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

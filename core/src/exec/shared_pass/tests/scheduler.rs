//! Streams that share passes, in simulated time.

use std::time::Duration;

use proptest::prelude::*;

use super::super::combination::Combination;
use super::super::scheduler::{Arrival, Batch, Scheduler, Turn};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How a stream has frames.
#[derive(Debug, Clone, Copy)]
struct Stream {
    /// Frames are available at this interval; 0 for at any time.
    interval: Duration,
    /// When the first frame is available.
    phase: Duration,
    /// The time of a frame besides its pass.
    rest: Duration,
    /// After so many frames it pauses, for [`PAUSE`].
    pauses_after: usize,
}

const PAUSE: Duration = Duration::from_secs(3);

impl Stream {
    fn paced(interval: u64, phase: u64) -> Self {
        Self { interval: ms(interval), phase: ms(phase), rest: ms(1), pauses_after: usize::MAX }
    }

    /// One that has frames at any time, and whose frames take `rest` besides their passes.
    fn at_full_speed(rest: u64, phase: u64) -> Self {
        Self { rest: ms(rest), ..Self::paced(0, phase) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Frame {
    stream: usize,
    arrived: Duration,
    began: Duration,
    /// The number of members of its pass; 0 if it ran outside of the passes of the group.
    members: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Doing {
    /// Its next frame arrives then.
    Away(Duration),
    Waiting(Duration),
    Running,
}

/// A device on which a pass of one member takes `pass`, and each further one a fifth more.
struct Simulation<'a> {
    streams: &'a [Stream],
    scheduler: Scheduler,
    doing: Vec<Doing>,
    frames: Vec<Frame>,
    pass: Duration,
    /// The passes that run, with their ends; the number of the leading stream, and whether it is one of the group.
    running: Vec<(Duration, usize, Option<Batch>)>,
    now: Duration,
}

impl<'a> Simulation<'a> {
    /// Streams of different owners, which wait at most `limit` for others.
    fn new(streams: &'a [Stream], pass: Duration, limit: Duration) -> Self {
        let mut scheduler = Scheduler::default();
        (0..streams.len()).for_each(|index| scheduler.join(index as u64, index as u64, limit));
        let doing = streams.iter().map(|stream| Doing::Away(stream.phase)).collect();
        Self { streams, scheduler, doing, frames: Vec::new(), pass, running: Vec::new(), now: Duration::ZERO }
    }

    /// Simulates until `end`; returns all frames, in the order in which their passes begin.
    fn frames(mut self, end: Duration, is_ready: &dyn Fn(Combination) -> bool) -> Vec<Frame> {
        while self.now < end {
            self.end_passes();
            for index in 0..self.streams.len() {
                if let Doing::Away(at) = self.doing[index]
                    && at <= self.now
                {
                    self.arrive(index, is_ready);
                }
            }
            let wakes = self.take_turns(is_ready);
            let arrivals = self.doing.iter().filter_map(|doing| match doing {
                Doing::Away(at) => Some(*at),
                Doing::Waiting(_) | Doing::Running => None,
            });
            let next = arrivals.chain(self.running.iter().map(|(end, ..)| *end)).chain(wakes).min();
            let next = next.expect("a stream waits for something that never happens");
            assert!(next > self.now, "time stands still at {next:?}");
            self.now = next;
        }
        self.frames
    }

    fn end_passes(&mut self) {
        let (ended, running) = self.running.drain(..).partition(|(end, ..)| *end <= self.now);
        self.running = running;
        let ended: Vec<_> = ended;
        for (_, lead, batch) in ended {
            let Some(batch) = batch else {
                self.go_away(lead);
                continue;
            };
            self.scheduler.finish(&batch, lead as u64, true, self.now);
            for &member in batch.members() {
                if member != lead as u64 {
                    assert_eq!(self.scheduler.turn(member, self.now, |_| true), Turn::Done(true));
                }
                self.go_away(member as usize);
            }
        }
    }

    fn go_away(&mut self, index: usize) {
        let Stream { interval, phase, rest, pauses_after } = self.streams[index];
        let made = self.frames.iter().filter(|frame| frame.stream == index).count();
        let mut next = self.now + rest;
        if interval > Duration::ZERO {
            // The newest frame is taken; those that were missed are not.
            let elapsed = next.saturating_sub(phase).as_nanos().div_ceil(interval.as_nanos());
            next = next.max(phase + interval * u32::try_from(elapsed).unwrap());
        }
        self.doing[index] = Doing::Away(if made == pauses_after { next + PAUSE } else { next });
    }

    fn arrive(&mut self, index: usize, is_ready: &dyn Fn(Combination) -> bool) {
        let id = index as u64;
        match self.scheduler.arrive(id, id + 1, self.now, is_ready) {
            Arrival::Alone => self.begin(index, &[(index, self.now)], None),
            Arrival::Lead => self.begin(index, &[(index, self.now)], Some(Batch::of([id]))),
            Arrival::Queue => {
                self.scheduler.wait(id, self.now);
                self.doing[index] = Doing::Waiting(self.now);
            }
        }
    }

    fn begin(&mut self, lead: usize, members: &[(usize, Duration)], batch: Option<Batch>) {
        for &(stream, arrived) in members {
            let members = batch.map_or(0, |batch| batch.members().len());
            self.frames.push(Frame { stream, arrived, began: self.now, members });
            self.doing[stream] = Doing::Running;
        }
        let takes = self.pass + self.pass * u32::try_from(members.len() - 1).unwrap() / 5;
        self.running.push((self.now + takes, lead, batch));
    }

    /// Lets all that wait have their turn; returns until when they wait.
    fn take_turns(&mut self, is_ready: &dyn Fn(Combination) -> bool) -> Vec<Duration> {
        let mut wakes = Vec::new();
        for index in 0..self.streams.len() {
            let Doing::Waiting(_) = self.doing[index] else { continue };
            match self.scheduler.turn(index as u64, self.now, is_ready) {
                Turn::Wait(until) => wakes.extend(until),
                Turn::Lead(batch) => {
                    let arrived = |&member: &u64| match self.doing[member as usize] {
                        Doing::Waiting(since) => (member as usize, since),
                        other @ (Doing::Away(_) | Doing::Running) => {
                            panic!("stream {member} runs in a pass and is {other:?}")
                        }
                    };
                    let members: Vec<_> = batch.members().iter().map(arrived).collect();
                    self.begin(index, &members, Some(batch));
                    // A member that waited before has its turn again at the end of the pass.
                    return Vec::new();
                }
                Turn::Done(succeeded) => panic!("stream {index} was served without a pass: {succeeded}"),
            }
        }
        wakes
    }
}

/// Simulates three seconds.
fn frames(streams: &[Stream], pass: u64, limit: u64) -> Vec<Frame> {
    Simulation::new(streams, ms(pass), ms(limit)).frames(ms(3000), &|_| true)
}

/// Returns the share of frames whose pass had `members`.
fn share(frames: &[Frame], members: usize) -> f64 {
    frames.iter().filter(|frame| frame.members == members).count() as f64 / frames.len() as f64
}

fn longest_wait(frames: &[Frame]) -> Duration {
    frames.iter().map(|frame| frame.began - frame.arrived).max().unwrap()
}

#[test]
fn one_stream_never_waits() {
    for stream in [Stream::at_full_speed(5, 0), Stream::paced(33, 0)] {
        let frames = frames(&[stream], 10, 10);
        assert!(frames.len() > 80 && longest_wait(&frames).is_zero() && share(&frames, 0) == 1.0);
    }
}

#[test]
fn streams_at_full_speed_share_nearly_every_pass() {
    for (count, rest) in [(2, [5, 5, 5, 5]), (2, [1, 4, 0, 0]), (3, [5, 3, 4, 0]), (4, [2, 5, 3, 4])] {
        let streams: Vec<Stream> = (0..count).map(|i| Stream::at_full_speed(rest[i], 4 * i as u64)).collect();
        let frames = frames(&streams, 20, 10);
        let share = share(&frames, count);
        assert!(share > 0.9, "{count} streams with {rest:?} ms besides the pass: {share}");
        assert!(longest_wait(&frames) <= ms(20 * 2 + 10));
    }
}

#[test]
fn streams_of_one_camera_rate_share_passes_if_their_frames_are_close() {
    let frames_of = |phase| frames(&[Stream::paced(33, 0), Stream::paced(33, phase)], 10, 8);
    let close = frames_of(5);
    assert!(share(&close, 2) > 0.9 && longest_wait(&close) <= ms(8), "{}", share(&close, 2));
    // Farther apart than the bound: each runs alone, and none waits for the other in vain.
    let apart = frames_of(15);
    assert!(share(&apart, 2) == 0.0 && longest_wait(&apart).is_zero(), "{:?}", longest_wait(&apart));
}

#[test]
fn a_stream_that_pauses_is_not_waited_for() {
    let pausing = Stream { pauses_after: 20, ..Stream::at_full_speed(5, 7) };
    let frames = frames(&[Stream::at_full_speed(5, 0), pausing], 20, 10);
    let last = frames.iter().filter(|frame| frame.stream == 1).map(|frame| frame.began).max().unwrap();
    assert!(frames.iter().any(|frame| frame.members == 2));
    let later: Vec<Frame> = frames.iter().copied().filter(|frame| frame.began > last + ms(100)).collect();
    assert!(later.len() > 50 && longest_wait(&later).is_zero());
}

#[test]
fn a_stream_that_never_comes_in_time_is_rarely_waited_for() {
    // The other one seems to be due, and is always late: its frames alternate between two intervals.
    let mut scheduler = Scheduler::default();
    (0..2).for_each(|id| scheduler.join(id, id, ms(5)));
    let mut waits = 0;
    for frame in 0..320 {
        let start = ms(40 * frame);
        match scheduler.arrive(0, 1, start, |_| true) {
            Arrival::Queue => {
                waits += 1;
                scheduler.wait(0, start);
                let Turn::Wait(Some(until)) = scheduler.turn(0, start, |_| true) else { panic!("frame {frame}") };
                assert!(until <= start + ms(5));
                let Turn::Lead(alone) = scheduler.turn(0, until, |_| true) else { panic!("frame {frame}") };
                assert_eq!(alone.members(), [0]);
                scheduler.finish(&alone, 0, true, until);
            }
            Arrival::Lead => scheduler.finish(&Batch::of([0]), 0, true, start),
            Arrival::Alone => {}
        }
        let late = start + ms(if frame.is_multiple_of(2) { 10 } else { 30 });
        match scheduler.arrive(1, 2, late, |_| true) {
            Arrival::Lead => scheduler.finish(&Batch::of([1]), 1, true, late),
            Arrival::Queue => scheduler.withdraw(1),
            Arrival::Alone => {}
        }
    }
    assert!((4..32).contains(&waits), "{waits} waits");
}

#[test]
fn members_of_one_owner_do_not_meet() {
    let mut scheduler = Scheduler::default();
    (0..2).for_each(|id| scheduler.join(id, 7, ms(10)));
    for frame in 0..20 {
        for id in [0, 1] {
            assert_eq!(scheduler.arrive(id, id + 1, ms(20 * frame + 9 * id), |_| true), Arrival::Alone);
        }
    }
}

#[test]
fn a_member_of_an_owner_that_waits_with_another_one_is_not_waited_for() {
    let mut scheduler = Scheduler::default();
    [(0, 7), (1, 8), (2, 8)].iter().for_each(|&(id, owner)| scheduler.join(id, owner, ms(10)));
    for frame in 0..5 {
        (0..3).for_each(|id| assert_eq!(scheduler.arrive(id, id + 1, ms(40 * frame), |_| false), Arrival::Alone));
    }
    let now = ms(200);
    assert_eq!(scheduler.arrive(0, 1, now, |_| true), Arrival::Queue);
    scheduler.wait(0, now);
    assert!(matches!(scheduler.turn(0, now, |_| true), Turn::Wait(Some(_))));
    assert_eq!(scheduler.arrive(1, 2, now, |_| true), Arrival::Queue);
    scheduler.wait(1, now);
    assert_eq!(scheduler.turn(0, now, |_| true), Turn::Lead(Batch::of([0, 1])));
}

#[test]
fn constants_are_wanted_once_they_stay_and_only_with_active_members() {
    let mut scheduler = Scheduler::default();
    (0..3).for_each(|id| scheduler.join(id, id, ms(10)));
    let mut wanted = Vec::new();
    for frame in 0..20 {
        for id in 0..2 {
            // The constants of the first change with each of its first ten frames.
            let constants = if id == 0 { 100 + frame.min(10) } else { 2 };
            let now = ms(20 * frame + id);
            scheduler.arrive(id, constants, now, |_| false);
            scheduler.pairs(id, now, |combination| wanted.push((frame, combination)));
        }
    }
    assert_eq!(wanted.first().map(|(frame, _)| *frame), Some(13));
    assert!(wanted.iter().all(|(_, combination)| combination.ids() == [2, 110]));
}

#[test]
fn a_member_whose_constants_are_not_ready_runs_alone_and_ends_the_wait_for_it() {
    let mut scheduler = Scheduler::default();
    (0..2).for_each(|id| scheduler.join(id, id, ms(10)));
    let is_ready = |combination: Combination| combination.ids() == [1, 2];
    for frame in 0..5 {
        for id in [0, 1] {
            let now = ms(40 * frame + id);
            match scheduler.arrive(id, id + 1, now, is_ready) {
                Arrival::Lead => scheduler.finish(&Batch::of([id]), id, true, now),
                Arrival::Queue => scheduler.withdraw(id),
                Arrival::Alone => {}
            }
        }
    }
    let now = ms(200);
    assert_eq!(scheduler.arrive(0, 1, now, is_ready), Arrival::Queue);
    scheduler.wait(0, now);
    assert!(matches!(scheduler.turn(0, now, is_ready), Turn::Wait(Some(_))));
    // The other one comes with constants of a new prompt.
    assert_eq!(scheduler.arrive(1, 3, ms(201), is_ready), Arrival::Alone);
    assert_eq!(scheduler.turn(0, ms(201), is_ready), Turn::Lead(Batch::of([0])));
}

#[test]
fn a_member_that_leaves_is_not_waited_for() {
    let mut scheduler = Scheduler::default();
    (0..3).for_each(|id| scheduler.join(id, id, ms(10)));
    for frame in 0..5 {
        for id in 0..3 {
            scheduler.arrive(id, id + 1, ms(40 * frame + id), |_| false);
        }
    }
    assert_eq!(scheduler.arrive(0, 1, ms(200), |_| true), Arrival::Queue);
    scheduler.wait(0, ms(200));
    scheduler.leave(1);
    assert!(matches!(scheduler.turn(0, ms(200), |_| true), Turn::Wait(Some(_))), "for the third");
    scheduler.leave(2);
    assert_eq!(scheduler.turn(0, ms(200), |_| true), Turn::Lead(Batch::of([0])));
    assert!(!scheduler.uses(2) && scheduler.uses(1));
}

#[test]
fn a_member_that_copies_its_frame_is_waited_for() {
    let mut scheduler = Scheduler::default();
    (0..2).for_each(|id| scheduler.join(id, id, ms(10)));
    for frame in 0..5 {
        (0..2).for_each(|id| assert_eq!(scheduler.arrive(id, id + 1, ms(40 * frame), |_| false), Arrival::Alone));
    }
    let now = ms(200);
    (0..2).for_each(|id| assert_eq!(scheduler.arrive(id, id + 1, now, |_| true), Arrival::Queue));
    scheduler.wait(1, now);
    assert_eq!(scheduler.turn(1, now, |_| true), Turn::Wait(Some(ms(210))));
    scheduler.wait(0, now);
    assert_eq!(scheduler.turn(1, now, |_| true), Turn::Lead(Batch::of([1, 0])));
    scheduler.finish(&Batch::of([1, 0]), 1, true, now);
    // One that does not wait after all.
    (0..2).for_each(|id| assert_eq!(scheduler.arrive(id, id + 1, ms(240), |_| true), Arrival::Queue));
    scheduler.wait(1, ms(240));
    scheduler.withdraw(0);
    assert_eq!(scheduler.turn(1, ms(240), |_| true), Turn::Lead(Batch::of([1])));
}

#[test]
fn no_stream_waits_for_a_pass_that_hangs() {
    let mut scheduler = Scheduler::default();
    (0..3).for_each(|id| scheduler.join(id, id, ms(10)));
    for frame in 0..5 {
        for id in 0..3 {
            scheduler.arrive(id, id + 1, ms(400 * frame), |_| false);
        }
    }
    // The first runs a pass with the second, while the third waits for its end.
    let now = ms(2000);
    (0..2).for_each(|id| scheduler.wait(id, now));
    let Turn::Lead(pass) = scheduler.turn(0, now + ms(10), |_| true) else { panic!("both wait") };
    assert_eq!(pass.members(), [0, 1]);
    assert_eq!(scheduler.arrive(2, 3, ms(2100), |_| true), Arrival::Queue);
    scheduler.wait(2, ms(2100));
    for id in [1, 2] {
        assert_eq!(scheduler.turn(id, ms(2100), |_| true), Turn::Wait(Some(ms(3010))));
        assert_eq!(scheduler.turn(id, ms(3010), |_| true), Turn::Done(false));
    }
    assert_eq!(scheduler.arrive(2, 3, ms(3050), |_| true), Arrival::Alone);
    // The second does not get the result of a pass that it no longer waits for.
    scheduler.finish(&pass, 0, true, ms(3100));
    assert_eq!(scheduler.arrive(1, 2, ms(3150), |_| true), Arrival::Lead);
}

#[test]
fn only_a_combination_that_is_ready_shares_a_pass_with_the_one_that_waits_longest() {
    let mut scheduler = Scheduler::default();
    (0..4).for_each(|id| scheduler.join(id, id, Duration::ZERO));
    for id in 0..4 {
        scheduler.arrive(id, id + 1, ms(1), |_| false);
    }
    // In the order 2, 0, 3, 1.
    for (at, id) in [2, 0, 3, 1].into_iter().enumerate() {
        scheduler.wait(id, ms(2 + at as u64));
    }
    assert_eq!(scheduler.queue().members(), [2, 0, 3, 1]);
    let is_ready = |combination: Combination| combination.ids().len() == 2;
    assert_eq!(scheduler.turn(1, ms(9), is_ready), Turn::Wait(None));
    let Turn::Lead(pass) = scheduler.turn(0, ms(9), is_ready) else { panic!("the second has its turn") };
    assert_eq!(pass.members(), [2, 0]);
    assert!(matches!(scheduler.turn(3, ms(9), is_ready), Turn::Wait(_)));
    scheduler.finish(&pass, 0, false, ms(20));
    assert_eq!(scheduler.turn(2, ms(20), is_ready), Turn::Done(false));
    let Turn::Lead(pass) = scheduler.turn(3, ms(20), is_ready) else { panic!("the third has its turn") };
    assert_eq!(pass.members(), [3, 1]);
}

fn any_stream() -> impl Strategy<Value = Stream> {
    let (interval, pauses_after) = (prop_oneof![Just(0_u64), 5_u64..80], prop_oneof![Just(usize::MAX), 1_usize..40]);
    (interval, 0_u64..60, 0_u64..25, pauses_after).prop_map(|(interval, phase, rest, pauses_after)| Stream {
        rest: ms(rest),
        pauses_after,
        ..Stream::paced(interval, phase)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_stream_waits_longer_than_the_bound_and_the_passes_before(
        streams in proptest::collection::vec(any_stream(), 1..8), pass in 1_u64..40, limit in 0_u64..15, seed in any::<u64>()
    ) {
        // Some pairs are never ready.
        let is_ready = |combination: Combination| combination.ids().iter().fold(seed, |sum, id| sum.rotate_left(7) ^ id) % 5 > 0;
        let all = Simulation::new(&streams, ms(pass), ms(limit)).frames(ms(2000), &|_| true);
        let some = Simulation::new(&streams, ms(pass), ms(limit)).frames(ms(2000), &is_ready);
        // A pass of four takes 1.6 times that of one.
        let longest = |passes: u32| (ms(pass) * 8 / 5 + ms(limit)) * passes;
        // With up to four streams that can all share passes, a frame waits for the pass that runs and the bound; with up to
        // eight for one more pass.
        let passes = if streams.len() <= 4 { 1 } else { 2 };
        prop_assert!(longest_wait(&all) <= longest(passes), "{:?}", longest_wait(&all));
        // Where only some can share passes, every pass still takes the one that waits longest.
        prop_assert!(longest_wait(&some) <= longest(streams.len() as u32), "{:?}", longest_wait(&some));
        // Every stream is served.
        prop_assert!((0..streams.len()).all(|index| all.iter().any(|frame| frame.stream == index)));
    }
}

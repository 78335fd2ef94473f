//! Frames, updates and failures in random order, and a stop at a random time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::event_log::End;
use super::toy::{FAILS, UNFIT};
use super::{Running, start};

/// Deterministic pseudorandom numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn patch(&mut self) -> String {
        let (a, b) = (self.roll(90) as f64 / 10.0, self.roll(5));
        match self.roll(12) {
            0 => format!(r#"{{"delta": {a}}}"#),
            1 => format!(r#"{{"guidance_scale": {a}, "prompt": "p{b}"}}"#),
            2 => format!(r#"{{"delta": {UNFIT:?}, "guidance_scale": {a}}}"#),
            3 => format!(r#"{{"controlnets": [{{"model_id": "net/{b}"}}, {{"model_id": "net/x"}}]}}"#),
            4 => format!(r#"{{"controlnets": [{{"model_id": "net/{b}", "conditioning_scale": 0.{b}}}]}}"#),
            5 => format!(r#"{{"controlnets": [{{"model_id": "missing/{b}"}}], "delta": {a}}}"#),
            6 => format!(r#"{{"model_id": "missing/{b}", "num_inference_steps": 60, "t_index_list": [55]}}"#),
            7 => format!(r#"{{"model_id": "huge/{b}", "width": {}}}"#, 256 + 64 * b),
            8 => format!(r#"{{"model_id": "giant/{b}"}}"#),
            9 => format!(r#"{{"model_id": "demo", "lora_dict": {{"a{b}": 0.5}}, "width": 512}}"#),
            10 => format!(r#"{{"t_index_list": [{}]}}"#, 50 + b),
            _ => format!(r#"{{"num_inference_steps": {}, "seed": {b}}}"#, 50 + 5 * b),
        }
    }
}

/// Feeds frames until `done`, of which some fail.
fn feed(running: &Running, done: &AtomicBool) {
    let mut dice = Dice(77);
    while !done.load(Ordering::Acquire) {
        let pixel = if dice.roll(10) == 0 { FAILS } else { 0 };
        running.submit(pixel).unwrap();
        running.picture();
    }
}

#[test]
fn random_updates_each_end_once_with_the_desired_parameters() {
    let running = start();
    let done = AtomicBool::new(false);
    let (mut accepted, mut refused) = (Vec::new(), 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            running.next_picture();
            feed(&running, &done);
        });
        let mut dice = Dice(12345);
        for _ in 0..2000 {
            match running.update(&dice.patch()) {
                Ok(ticket) if ticket.cost.is_some() => accepted.push(ticket),
                Ok(_) => {}
                Err(_) => refused += 1,
            }
            if dice.roll(20) == 0
                && let Some(ticket) = accepted.last()
            {
                running.end(ticket);
            }
        }
        for ticket in accepted.iter().rev().take(1000) {
            running.end(ticket);
        }
        done.store(true, Ordering::Release);
    });
    let versions: Vec<u64> = accepted.iter().map(|ticket| ticket.version).collect();
    assert_eq!(versions, (1..=accepted.len() as u64).collect::<Vec<_>>(), "versions have no gap");
    let ends: Vec<End> = accepted.iter().rev().take(1000).map(|ticket| running.end(ticket)).collect();
    for end in [End::Applied, End::Rejected] {
        assert!(ends.contains(&end), "no update ended as {end:?}");
    }
    assert!(refused > 0, "some updates break a rule");
    let desired = running.desired();
    assert_eq!(desired.violations(), []);
    assert_eq!(running.stop(), desired);
}

#[test]
fn a_session_can_end_at_any_moment() {
    let mut dice = Dice(99);
    for round in 0..60 {
        let running = start();
        for _ in 0..dice.roll(12) {
            if dice.roll(2) == 0 {
                running.submit(0).unwrap();
            } else {
                let _ = running.update(&dice.patch());
            }
        }
        if round % 2 == 0 {
            drop(running);
        } else {
            running.stop();
        }
    }
}

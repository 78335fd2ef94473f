//! Pictures through the threads that interpolate and show them: none is lost or overtaken, whether the session's thread
//! shows the next one itself, and the presenter is on one thread at a time.

use std::sync::Arc;

use super::order::{check_pct, check_random};
use super::relay::Relay;
use shuttle::thread;

/// The number of schedules.
const SCHEDULES: usize = 4000;

/// What was shown: the presenter of the model.
type Presenter = Vec<u32>;
/// A picture, and whether the session's thread may show the next one itself.
type Picture = (u32, bool);

/// Sends each picture, interpolated or not, as the session's thread does, and returns the numbers of those that were
/// shown and of those that were dropped.
fn play(interpolated: &[bool]) -> (Presenter, usize) {
    let relay: Arc<Relay<Picture, Picture, Presenter>> = Arc::new(Relay::new());
    let worker = {
        let relay = relay.clone();
        thread::spawn(move || {
            let mut dropped = 0;
            while let Some(picture) = relay.arrival() {
                if relay.show(picture).is_some() {
                    dropped += 1;
                    relay.is_done();
                }
            }
            relay.complete();
            dropped
        })
    };
    let shower = {
        let relay = relay.clone();
        thread::spawn(move || {
            let mut presenter = None;
            while let Some((number, returns)) = relay.to_show() {
                let mut current: Presenter = presenter.take().or_else(|| relay.presenter()).expect("a presenter");
                current.push(number);
                if returns {
                    relay.return_presenter(current);
                } else {
                    presenter = Some(current);
                }
                relay.is_done();
            }
            presenter
        })
    };
    let (mut own, mut dropped) = (Some(Presenter::new()), 0);
    for (number, &interpolated) in (0..).zip(interpolated) {
        if interpolated {
            own.take().into_iter().for_each(|presenter| relay.give(presenter));
        } else if own.is_none() {
            own = relay.take_back();
        }
        match &mut own {
            Some(presenter) => presenter.push(number),
            None => dropped += usize::from(relay.send((number, !interpolated)).is_some()),
        }
    }
    relay.end();
    dropped += worker.join().unwrap();
    let shown = own.or(shower.join().unwrap()).or_else(|| relay.presenter()).expect("one of them has the presenter");
    (shown, dropped)
}

#[test]
fn pictures_are_shown_in_order_and_none_is_lost() {
    check_random(
        || {
            for interpolated in [&[true, false, true, false][..], &[false, true, true, false, false, false]] {
                let (shown, dropped) = play(interpolated);
                assert_eq!(shown.len() + dropped, interpolated.len(), "{shown:?}");
                assert!(shown.is_sorted_by(|one, next| one < next), "{shown:?}");
            }
        },
        SCHEDULES,
    );
}

#[test]
fn the_last_picture_is_always_shown() {
    check_pct(
        || {
            let (shown, _) = play(&[true, true, false, true, false]);
            assert_eq!(shown.last(), Some(&4));
        },
        SCHEDULES,
        3,
    );
}

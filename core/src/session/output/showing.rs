//! The thread that shows pictures at their times.

use std::sync::Arc;
use std::time::Instant;

use super::picture::{Pictures, Shown};
use super::presenter::Presenter;
use crate::session::endpoint::{Endpoint, Phase};

/// Shows pictures until the session ends.
pub(super) fn run(relay: &Pictures, endpoint: &Arc<Endpoint>) {
    let mut presenter: Option<Presenter> = None;
    while let Some(Shown { picture, due, step, is_made, returns }) = relay.to_show() {
        relay.sleep(due);
        // An interpolated picture whose successor is due is of no use.
        let is_late = !is_made && (relay.is_ending() || Instant::now() > due + step);
        if !is_late && endpoint.phase() < Phase::Ending {
            presenter = presenter.or_else(|| relay.presenter());
            if let Some(presenter) = &mut presenter {
                presenter.present(picture);
            }
        }
        if returns && let Some(presenter) = presenter.take() {
            relay.return_presenter(presenter);
        }
        if is_made {
            relay.is_done();
        }
    }
}

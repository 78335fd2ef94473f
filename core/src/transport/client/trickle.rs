//! Candidates that are found after the offer, sent to the session (RFC 8840, RFC 9725).

use std::sync::Arc;

use http::header::HeaderValue;
use tokio::task::spawn_blocking;

use super::wire::{Failure, Wire};
use crate::transport::peer::Peer;

/// Sends candidates as they are found, until all are sent or the server refuses them. A failure has no other effect: the
/// connection may be established without them.
pub(super) async fn trickle(peer: Peer, wire: Arc<Wire>, resource: Option<String>, tag: Option<HeaderValue>) {
    let Some(resource) = resource else { return };
    while wire.takes_candidates() {
        let Some(fragment) = peer.next_candidates().await else { return };
        let (wire, url, tag) = (wire.clone(), resource.clone(), tag.clone());
        let sending = spawn_blocking(move || wire.patch(&url, &fragment.to_string(), tag.as_ref()));
        // A request that panicked has been logged.
        if let Ok(Err(Failure::Passing(error, _) | Failure::Final(error))) = sending.await {
            tracing::debug!(error = format!("{error:#}"), "candidates could not be sent");
        }
    }
}

//! Serves a data channel.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelState};

use crate::transport::ChannelHandler;

/// Serves the channel that is read: messages to the handler and answers back, notices once it is open.
pub(super) async fn serve(
    channel: Arc<dyn DataChannel>,
    handler: Arc<dyn ChannelHandler>,
    mut notices: Option<broadcast::Receiver<String>>,
) {
    let mut open = matches!(channel.ready_state().await, Ok(RTCDataChannelState::Open));
    loop {
        tokio::select! {
            event = channel.poll() => match event {
                Some(DataChannelEvent::OnOpen) => open = true,
                Some(DataChannelEvent::OnMessage(message)) => {
                    let Ok(text) = std::str::from_utf8(&message.data) else { continue };
                    for answer in handler.message(text) {
                        if channel.send_text(&answer).await.is_err() {
                            return;
                        }
                    }
                }
                Some(DataChannelEvent::OnClose | DataChannelEvent::OnError) | None => return,
                Some(_) => {}
            },
            notice = next(&mut notices), if open => match notice {
                Some(notice) => {
                    if channel.send_text(&notice).await.is_err() {
                        return;
                    }
                }
                None => notices = None,
            },
        }
    }
}

/// Waits for the next notice, and for ever where there are none; `None` when no more will come.
async fn next(notices: &mut Option<broadcast::Receiver<String>>) -> Option<String> {
    let Some(notices) = notices else { return std::future::pending().await };
    loop {
        match notices.recv().await {
            Ok(notice) => return Some(notice),
            Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "notices were too many for a data channel"),
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Empties a channel that is not read, so that it holds up no other.
pub(super) async fn ignore(channel: Arc<dyn DataChannel>) {
    while channel.poll().await.is_some() {}
}

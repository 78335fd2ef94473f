//! Serves a data channel.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelState};

use super::pace::{Allowance, Pace};
use crate::transport::ChannelHandler;

/// Serves the channel that is read: passes messages to the handler and sends answers, and notices once it is open.
pub(super) async fn serve(
    channel: Arc<dyn DataChannel>,
    handler: Arc<dyn ChannelHandler>,
    mut notices: Option<broadcast::Receiver<String>>,
    allowance: Allowance,
) {
    let mut open = matches!(channel.ready_state().await, Ok(RTCDataChannelState::Open));
    let mut pace = Pace::new(allowance);
    loop {
        let sent = tokio::select! {
            event = channel.poll() => match event {
                Some(DataChannelEvent::OnOpen) => {
                    open = true;
                    true
                }
                Some(DataChannelEvent::OnMessage(message)) => {
                    let Ok(text) = std::str::from_utf8(&message.data) else { continue };
                    match pace.arrived(handler.as_ref(), text, Instant::now()) {
                        Some(text) => send_all(channel.as_ref(), handler.message(text)).await,
                        None => true,
                    }
                }
                Some(DataChannelEvent::OnClose | DataChannelEvent::OnError) | None => return,
                Some(_) => true,
            },
            () = until(pace.due()) => match pace.ready(handler.as_ref(), Instant::now()) {
                Some(text) => send_all(channel.as_ref(), handler.message(&text)).await,
                None => true,
            },
            notice = next(&mut notices), if open => match notice {
                Some(notice) => send_all(channel.as_ref(), vec![notice]).await,
                None => {
                    notices = None;
                    true
                }
            },
        };
        if !sent {
            return;
        }
    }
}

/// Sends texts in order; false if the channel is closed.
async fn send_all(channel: &dyn DataChannel, texts: Vec<String>) -> bool {
    for text in texts {
        if channel.send_text(&text).await.is_err() {
            return false;
        }
    }
    true
}

/// Waits until `due`, or forever without one.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for the next notice, or forever if there are none; `None` when the sender is dropped.
async fn next(notices: &mut Option<broadcast::Receiver<String>>) -> Option<String> {
    let Some(notices) = notices else { return std::future::pending().await };
    loop {
        match notices.recv().await {
            Ok(notice) => return Some(notice),
            Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "a data channel lost notices"),
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Reads and discards messages, so that the channel does not block others.
pub(super) async fn ignore(channel: Arc<dyn DataChannel>) {
    while channel.poll().await.is_some() {}
}

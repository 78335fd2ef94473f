//! Limits how many large request bodies are read at a time, so that their memory is bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::StatusCode;
use bytes::BytesMut;
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::error::ApiError;
use crate::http::{BODY_TIME, body_too_large, late_body};
use crate::wire::MAX_BODY;

/// Bodies of up to this many bytes are read without a permit.
const LARGE: usize = 1 << 20;
/// Bytes allocated for a body before any of it has arrived.
const FIRST: usize = 64 << 10;
/// The number of larger bodies that are read and processed at a time.
const AT_A_TIME: usize = 4;
/// Seconds after which a client without a permit may retry.
const RETRY_SECONDS: u32 = 5;

/// The permits for large bodies.
#[derive(Debug)]
pub(crate) struct LargeBodies {
    room: Arc<Semaphore>,
    /// The longest time for waiting for a permit and reading together.
    time: Duration,
}

/// The permit of one large body, released on drop.
#[derive(Debug)]
pub(crate) struct BodyPermit {
    permit: Option<OwnedSemaphorePermit>,
}

impl Default for LargeBodies {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(AT_A_TIME)), time: BODY_TIME }
    }
}

impl LargeBodies {
    /// Reads a body of at most [`MAX_BODY`] bytes. The permit should be kept while the body is processed.
    ///
    /// # Errors
    ///
    /// 413 for a longer body, 503 without a permit for a large one in time, 408 for one that does not arrive in time,
    /// 400 if the connection breaks.
    pub(crate) async fn read(&self, body: Body) -> Result<(Bytes, BodyPermit), ApiError> {
        let deadline = Instant::now() + self.time;
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > MAX_BODY {
            return Err(body_too_large(MAX_BODY));
        }
        let mut room = BodyPermit { permit: None };
        if announced > LARGE {
            room = self.acquire(deadline).await?;
        }
        let (mut parts, mut bytes) = (body.into_data_stream(), BytesMut::with_capacity(announced.min(FIRST)));
        while let Some(part) = timeout_at(deadline, parts.next()).await.map_err(|_| late_body())? {
            let part = part.map_err(|_| ApiError::bad_request("The body is incomplete"))?;
            let length = bytes.len() + part.len();
            if length > MAX_BODY {
                return Err(body_too_large(MAX_BODY));
            }
            if length > LARGE && room.permit.is_none() {
                room = self.acquire(deadline).await?;
            }
            bytes.extend_from_slice(&part);
        }
        Ok((bytes.freeze(), room))
    }

    async fn acquire(&self, deadline: Instant) -> Result<BodyPermit, ApiError> {
        match timeout_at(deadline, self.room.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(BodyPermit { permit: Some(permit) }),
            // It is never closed.
            Ok(Err(_)) | Err(_) => {
                let what = format!("bodies of more than {LARGE} bytes at a time");
                Err(ApiError::limit(StatusCode::SERVICE_UNAVAILABLE, &what, AT_A_TIME, RETRY_SECONDS))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    fn bodies(time: Duration) -> LargeBodies {
        LargeBodies { time, ..LargeBodies::default() }
    }

    #[tokio::test]
    async fn body_without_a_permit_in_time_is_503_with_retry_after() {
        let bodies = bodies(Duration::from_millis(50));
        let mut rooms = Vec::new();
        for _ in 0..AT_A_TIME {
            let (bytes, room) = bodies.read(Body::from(vec![b' '; LARGE + 1])).await.unwrap();
            assert_eq!(bytes.len(), LARGE + 1);
            rooms.push(room);
        }
        let refused = bodies.read(Body::from(vec![b' '; LARGE + 1])).await.unwrap_err().into_response();
        assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (503, &b"5"[..]));
        assert_eq!(bodies.read(Body::from(vec![b' '; LARGE])).await.unwrap().0.len(), LARGE);
        rooms.pop();
        assert!(bodies.read(Body::from(vec![b' '; LARGE + 1])).await.is_ok());
    }

    #[tokio::test]
    async fn body_without_a_length_is_limited_and_needs_a_permit() {
        let parts = |count: usize| {
            let part = Bytes::from(vec![b' '; LARGE]);
            let parts = std::iter::repeat_n(part, count).map(Ok::<_, std::io::Error>);
            Body::from_stream(futures_util::stream::iter(parts))
        };
        let bodies = bodies(Duration::from_millis(50));
        assert_eq!(bodies.read(parts(MAX_BODY / LARGE + 1)).await.unwrap_err().status(), 413);
        let mut rooms = Vec::new();
        for _ in 0..AT_A_TIME {
            rooms.push(bodies.read(parts(2)).await.unwrap());
        }
        assert_eq!(bodies.read(parts(2)).await.unwrap_err().status(), 503);
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(bodies.read(never).await.unwrap_err().status(), 408);
    }
}

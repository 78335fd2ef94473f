//! The routes of an in-process server: `/whip` and `/whep`, and the sessions below each.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::routing::any;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode};
use subtle::ConstantTimeEq as _;

use super::ServeOptions;
use crate::transport::http::{AllowedOrigins, BODY_LIMIT, Links, OriginRefused, base_url, refusal};
use crate::transport::{WhepEndpoint, WhipEndpoint};
use crate::web::Origin;
use crate::{Error, ErrorKind, Result};

const WHIP: &str = "/whip";
const WHEP: &str = "/whep";

/// The endpoints, and the rules for requests.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) whip: WhipEndpoint,
    pub(super) whep: WhepEndpoint,
    pub(super) token: Option<String>,
    pub(super) base: Base,
    pub(super) origins: AllowedOrigins,
}

/// The pages that may use a server: those of any origin if a token is required, which browsers do not send by themselves.
pub(super) fn allowed_origins(options: &ServeOptions) -> Result<AllowedOrigins> {
    let mut origins = if options.token.is_some() { AllowedOrigins::any() } else { AllowedOrigins::local() };
    if let Some(url) = &options.public_url {
        let end = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
        origins = origins.with(url.get(..end).unwrap_or(url))?;
    }
    options.allow_origins.iter().try_fold(origins, |origins, origin| origins.with(origin))
}

/// The address of a server for clients.
#[derive(Debug)]
pub(super) struct Base {
    /// The configured URL, without a slash at the end.
    fixed: Option<String>,
    local: String,
}

impl Base {
    pub(super) fn new(public_url: Option<&str>, addr: SocketAddr) -> Result<Self> {
        let fixed = public_url.map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) = &fixed
            && Origin::of_text(url).is_none()
        {
            let what = format!("public_url: got {url:?}, expected a URL that starts with http:// or https://");
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        Ok(Self { fixed, local: format!("http://{addr}") })
    }

    pub(super) fn whip_url(&self) -> String {
        self.of(&HeaderMap::new()) + WHIP
    }

    pub(super) fn whep_url(&self) -> String {
        self.of(&HeaderMap::new()) + WHEP
    }

    /// The address as a request with `headers` knows it.
    fn of(&self, headers: &HeaderMap) -> String {
        self.fixed.clone().unwrap_or_else(|| base_url(headers, &self.local))
    }
}

pub(super) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route(WHIP, any(answer))
        .route(&format!("{WHIP}/{{session}}"), any(answer))
        .route(WHEP, any(answer))
        .route(&format!("{WHEP}/{{session}}"), any(answer))
        .fallback(no_route)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(site)
}

async fn answer(State(site): State<Arc<Site>>, request: Request) -> Response<Body> {
    // Not decoded: names of sessions need no escapes, and a path with escapes does not name any.
    let path = request.uri().path().to_owned();
    let session = path.trim_start_matches('/').split_once('/').map(|(_, session)| session);
    let asked = request.headers().clone();
    let response = match site.origins.check(&asked) {
        Ok(()) => site.answer(request, session).await,
        Err(refused) => forbidden(&refused),
    };
    site.sent(&asked, response)
}

async fn no_route(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response<Body> {
    let response = match site.origins.check(&headers) {
        Ok(()) => refusal(StatusCode::NOT_FOUND, "unknown path; expected /whip or /whep"),
        Err(refused) => forbidden(&refused),
    };
    site.sent(&headers, response)
}

fn forbidden(refused: &OriginRefused) -> Response<Bytes> {
    refusal(StatusCode::FORBIDDEN, &format!("{refused}; set a token, or allow the origin"))
}

/// Returns true if the announced body is too long, so that it is not read.
fn is_too_long(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    length.is_some_and(|length: u64| length > BODY_LIMIT as u64)
}

impl Site {
    /// Closes the connection after the response, so that connections stay short.
    fn sent(&self, asked: &HeaderMap, mut response: Response<Bytes>) -> Response<Body> {
        self.origins.add_cors(asked, response.headers_mut());
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response.map(Body::from)
    }

    async fn answer(&self, request: Request, session: Option<&str>) -> Response<Bytes> {
        if request.method() != Method::OPTIONS && !self.is_authorized(request.headers()) {
            let mut response = refusal(StatusCode::UNAUTHORIZED, "bearer token: missing or wrong");
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return response;
        }
        if is_too_long(request.headers()) {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "body: too long");
        }
        let publishes = request.uri().path().starts_with(WHIP);
        let (parts, body) = request.into_parts();
        let body = match Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await {
            Ok(body) => body,
            Err(rejection) => return refusal(rejection.status(), "failed to read the body, or it is too long"),
        };
        let base = self.base.of(&parts.headers);
        let request = http::Request::from_parts(parts, body);
        if publishes {
            let links = Links { resource: format!("{base}{WHIP}"), playback: Some(format!("{base}{WHEP}")) };
            self.whip.handle(request, session, &links).await
        } else {
            let links = Links { resource: format!("{base}{WHEP}"), playback: None };
            self.whep.handle(request, session, &links).await
        }
    }

    /// Returns true for a request with the token, after the word `Bearer` or, as some players send it, alone.
    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let said = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let bare = said.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        let said = bare.map_or(said, |(_, bare)| bare).trim_ascii();
        said.ct_eq(token.as_bytes()).into()
    }
}

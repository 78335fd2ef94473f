//! A server with responses defined by a test, which records its requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use http::{Response, StatusCode};
use tokio::runtime::Runtime;

/// A recorded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Asked {
    pub(in super::super) line: String,
    pub(in super::super) token: Option<String>,
    pub(in super::super) content_type: Option<String>,
    pub(in super::super) if_match: Option<String>,
    pub(in super::super) body: String,
}

/// The server; it ends when it is dropped.
pub(in super::super) struct Fake {
    pub(in super::super) addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _runtime: Runtime,
}

impl Fake {
    /// Starts a server that responds with `reply`, which receives the request and the number of earlier ones.
    pub(in super::super) fn start(reply: impl Fn(&Asked, usize) -> Response<String> + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, reply) = (asked.clone(), Arc::new(reply));
        let router = Router::new().fallback(move |request: Request| {
            let (log, reply) = (log.clone(), reply.clone());
            async move {
                let asked = read(request).await;
                let before = {
                    let mut log = log.lock().unwrap();
                    log.push(asked.clone());
                    log.len() - 1
                };
                reply(&asked, before).map(Body::from)
            }
        });
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { addr, asked, _runtime: runtime }
    }

    pub(in super::super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(in super::super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The first lines of the requests.
    pub(in super::super) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

async fn read(request: Request) -> Asked {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let (token, content_type, if_match) = (header("authorization"), header("content-type"), header("if-match"));
    let line = format!("{} {}", parts.method, parts.uri);
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Asked { line, token, content_type, if_match, body: String::from_utf8(body.to_vec()).unwrap() }
}

/// An answer with headers.
pub(in super::super) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response<String> {
    let mut response = Response::new(body.to_owned());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

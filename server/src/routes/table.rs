//! Rows of the route table. The router and the OpenAPI document are both generated from them, so that they list the
//! same routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, any, on};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;

/// A route: a path, its methods, and their handlers.
#[derive(Debug)]
pub(crate) struct Route {
    path: &'static str,
    access: Access,
    /// At least one.
    operations: Vec<(Verb, Operation)>,
    handler: MethodRouter<Arc<App>>,
}

/// Methods that routes have. Axum answers `HEAD` with the handler of `GET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Delete,
    Get,
    Options,
    Patch,
    Post,
    Put,
}

/// The credential that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// An API key, if the server has keys. The router checks it before it calls the handler.
    Key,
    /// An API key, as above, or the control token of the stream, which the handler compares with the path.
    Control,
    /// A secret in the path, such as a stream key, which the handler looks up.
    Path,
    /// None.
    Open,
}

/// Groups of operations in the OpenAPI document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Streams,
    Status,
    Clips,
    Media,
    Service,
}

/// Writes the answer to a refused request, in the form of the API that the routes belong to.
type Refuse = fn(ApiError) -> Response;

/// The operation of one method of a route, as in the OpenAPI document.
#[derive(Debug)]
pub(crate) struct Operation {
    /// `None` for an operation that is not documented.
    tag: Option<Tag>,
    summary: &'static str,
    query: Option<Value>,
    body: Option<Value>,
    responses: Map<String, Value>,
}

/// Creates a route of one method.
pub(crate) fn route<H, T>(verb: Verb, path: &'static str, access: Access, handler: H, operation: Operation) -> Route
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    Route { path, access, operations: vec![(verb, operation)], handler: on(verb.filter(), handler) }
}

/// Creates a route whose handler receives every method, and rejects unsupported ones.
pub(crate) fn all_methods<H, T>(
    path: &'static str,
    access: Access,
    handler: H,
    operations: Vec<(Verb, Operation)>,
) -> Route
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    Route { path, access, operations, handler: any(handler) }
}

/// Creates the router of `routes`. `refuse` writes the answer to requests without a key.
pub(crate) fn router(app: &Arc<App>, routes: Vec<Route>, refuse: Refuse) -> Router<Arc<App>> {
    routes.into_iter().fold(Router::new(), |router, route| {
        let handler = match route.access {
            Access::Key | Access::Control => {
                route.handler.route_layer(from_fn_with_state((app.clone(), route.access, refuse), check_caller))
            }
            Access::Path | Access::Open => route.handler,
        };
        router.route(route.path, handler)
    })
}

/// Refuses a request without a key, or a token where it does; the handler receives the [`Caller`].
async fn check_caller(
    State((app, access, refuse)): State<(Arc<App>, Access, Refuse)>,
    mut request: Request,
    next: Next,
) -> Response {
    match app.caller(request.headers()) {
        Ok(Caller::Token(_)) if access != Access::Control => {
            let text = "A control token gives access to its stream only; this needs an API key";
            refuse(ApiError::new(StatusCode::FORBIDDEN, "AUTH/FORBIDDEN", text))
        }
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => refuse(error),
    }
}

impl Route {
    pub(crate) fn path(&self) -> &'static str {
        self.path
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }

    pub(crate) fn operations(&self) -> &[(Verb, Operation)] {
        &self.operations
    }

    /// The names of the path's parameters.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

impl Verb {
    fn filter(self) -> MethodFilter {
        match self {
            Self::Delete => MethodFilter::DELETE,
            Self::Get => MethodFilter::GET,
            Self::Options => MethodFilter::OPTIONS,
            Self::Patch => MethodFilter::PATCH,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
        }
    }

    /// The name in the OpenAPI document.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Get => "get",
            Self::Options => "options",
            Self::Patch => "patch",
            Self::Post => "post",
            Self::Put => "put",
        }
    }
}

impl Tag {
    pub(crate) const ALL: [Self; 5] = [Self::Streams, Self::Status, Self::Clips, Self::Media, Self::Service];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Status => "status",
            Self::Clips => "clips",
            Self::Media => "media",
            Self::Service => "service",
        }
    }
}

impl Operation {
    /// Creates an operation that the document describes.
    pub(crate) fn new(tag: Tag, summary: &'static str) -> Self {
        let operation = Self { tag: Some(tag), ..Self::unlisted(summary) };
        // Every request of a page of another origin is refused before it reaches the route.
        operation.errors(&[403])
    }

    /// Creates an operation that is not documented: an alias for older clients, the page, or another API's.
    pub(crate) fn unlisted(summary: &'static str) -> Self {
        Self { tag: None, summary, query: None, body: None, responses: Map::new() }
    }

    /// Adds a parameter of the query.
    pub(crate) fn query(mut self, name: &str, required: bool, schema: &Value) -> Self {
        let mut parameter = json!({"name": name, "in": "query", "schema": schema});
        if required {
            parameter["required"] = true.into();
        }
        self.query = Some(json!([parameter]));
        self
    }

    /// Sets the body: an optional JSON object of a schema of the document.
    pub(crate) fn json_body(mut self, schema: &str) -> Self {
        let content = json!({"application/json": {"schema": reference(schema)}});
        self.body = Some(json!({"required": false, "content": content}));
        // A body that does not arrive in time, and one that a page sends with another type.
        self.errors(&[408, 415])
    }

    /// Sets the body: an offer.
    pub(crate) fn sdp_body(mut self) -> Self {
        self.body = Some(json!({"required": true, "content": sdp()}));
        self
    }

    /// Adds a response that is a JSON object of a schema of the document.
    pub(crate) fn json(self, status: u16, schema: &str) -> Self {
        self.content(status, "Done", "application/json", &reference(schema))
    }

    /// Adds a response with content of the media type `kind`.
    pub(crate) fn content(mut self, status: u16, description: &str, kind: &str, schema: &Value) -> Self {
        let response = json!({"description": description, "content": {kind: {"schema": schema}}});
        self.responses.insert(status.to_string(), response);
        self
    }

    /// Adds a response without content.
    pub(crate) fn empty(mut self, status: u16, description: &str) -> Self {
        self.responses.insert(status.to_string(), json!({ "description": description }));
        self
    }

    /// Adds the response to an offer that is accepted.
    pub(crate) fn sdp_answer(mut self) -> Self {
        let text = json!({"type": "string"});
        let response = json!({
            "description": "The answer to the offer",
            "headers": {
                "Location": {"required": true, "schema": text},
                "ETag": {"required": true, "schema": text},
                "Livepeer-Playback-Url": {"schema": text},
            },
            "content": sdp(),
        });
        self.responses.insert("201".into(), response);
        self
    }

    /// Adds the errors that this operation may return, in the API's form.
    pub(crate) fn errors(self, statuses: &[u16]) -> Self {
        let add = |this: Self, status: &u16| this.content(*status, "Refused", "application/json", &reference("Error"));
        statuses.iter().fold(self, add)
    }

    /// The summary, which every operation has.
    #[cfg(test)]
    pub(crate) fn summary(&self) -> &'static str {
        self.summary
    }

    /// Returns whether the OpenAPI document lists the route.
    pub(crate) fn is_listed(&self) -> bool {
        self.tag.is_some()
    }

    /// Writes this as an operation object of OpenAPI; for a route with `access`.
    pub(crate) fn to_openapi(&self, access: Access) -> Value {
        let mut out = Map::new();
        if let Some(tag) = self.tag {
            out.insert("tags".into(), json!([tag.name()]));
        }
        out.insert("summary".into(), self.summary.into());
        out.insert("responses".into(), self.responses.clone().into());
        // The document requires keys globally.
        if matches!(access, Access::Path | Access::Open) {
            out.insert("security".into(), json!([]));
        }
        out.extend(self.query.clone().map(|query| ("parameters".into(), query)));
        out.extend(self.body.clone().map(|body| ("requestBody".into(), body)));
        Value::Object(out)
    }
}

fn sdp() -> Value {
    json!({"application/sdp": {"schema": {"type": "string"}}})
}

/// A reference to a schema of the document.
pub(crate) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

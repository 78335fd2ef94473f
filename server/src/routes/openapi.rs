//! The description of the API, for programs: OpenAPI 3.1, generated from the route table, the parameters' schema, and
//! the schemas of bodies in this file.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use dreamframe::params::schema;
use serde_json::{Map, Value, json};

use super::table::{Route, Tag, reference};
use crate::app::App;
use crate::urls::Urls;

/// `GET /openapi.json`
pub(crate) async fn document(State(app): State<Arc<App>>, urls: Urls) -> Response {
    let body = text(&urls, !app.config.keys.is_open());
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Writes the document. What does not depend on the request is written once: it takes milliseconds, and the route needs
/// no key, so that many requests would take the processor time of the streams.
fn text(urls: &Urls, keys: bool) -> String {
    static COMMON: [OnceLock<String>; 2] = [const { OnceLock::new() }; 2];
    let common = COMMON[usize::from(keys)].get_or_init(|| describe(keys).to_string());
    let servers = json!([{"url": urls.base()}]);
    format!("{{\"servers\":{servers},{}", common.strip_prefix('{').unwrap_or(common))
}

/// Describes the API, without the addresses of servers.
fn describe(keys: bool) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "dreamframe",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Real-time diffusion over the network. Frames come in by WHIP, pictures go out by WHEP; the streams \
                            behind both are made and changed here. The parameters' names and meaning are Daydream's.",
        },
        "security": if keys { json!([{"bearer": []}]) } else { json!([]) },
        "tags": Tag::ALL.map(|tag| json!({"name": tag.name()})),
        "paths": paths(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas(),
        },
    })
}

/// Descriptions of path parameters, by their names.
const PATH_PARAMETERS: [(&str, &str); 5] = [
    ("id", "The stream's id"),
    ("clip", "The clip's id"),
    ("stream_key", "The stream's key"),
    ("output", "The stream's key, followed by -out"),
    ("playback_id", "The stream's output_playback_id"),
];

/// The operations of the route table, by path.
fn paths() -> Value {
    let mut paths = Map::new();
    for route in super::table() {
        let listed = route.operations().iter().filter(|(_, operation)| operation.is_listed());
        let operations: Vec<_> =
            listed.map(|(verb, operation)| (verb.name().to_owned(), operation.to_openapi(route.access()))).collect();
        if operations.is_empty() {
            continue;
        }
        let path = paths.entry(route.path()).or_insert_with(|| Value::Object(path_parameters(&route)));
        path.as_object_mut().into_iter().for_each(|path| path.extend(operations.clone()));
    }
    Value::Object(paths)
}

/// Creates a path item that has only the parameters of the path.
fn path_parameters(route: &Route) -> Map<String, Value> {
    let parameter = |name: &str| {
        let what = PATH_PARAMETERS.iter().find(|(known, _)| *known == name).map_or(name, |(_, what)| what);
        json!({"name": name, "in": "path", "required": true, "description": what, "schema": {"type": "string"}})
    };
    let parameters: Vec<_> = route.parameters().map(parameter).collect();
    let is_named = !parameters.is_empty();
    is_named.then(|| ("parameters".to_owned(), Value::from(parameters))).into_iter().collect()
}

/// An object that requires all of `properties`, and allows no others if `closed`.
fn object(properties: Value, closed: bool) -> Value {
    let required: Vec<_> = properties.as_object().into_iter().flat_map(|map| map.keys().cloned()).collect();
    let mut object = json!({"type": "object", "required": required, "properties": properties});
    if let (true, Some(object)) = (closed, object.as_object_mut()) {
        object.insert("additionalProperties".into(), false.into());
    }
    object
}

fn schemas() -> Value {
    let (text, flag, whole) = (json!({"type": "string"}), json!({"type": "boolean"}), json!({"type": "integer"}));
    let text_or_null = json!({"type": ["string", "null"]});
    let free = json!({"type": "object"});
    let stream = json!({
        "id": text, "name": text, "whip_url": text, "stream_key": text, "output_playback_id": text,
        "output_stream_url": text, "gateway_host": text, "created_at": {"type": "string", "format": "date-time"},
        "author": text, "from_playground": flag, "is_smoke_test": flag, "pipeline": {"const": "streamdiffusion"},
        "pipeline_id": text_or_null, "params": free, "pipeline_params": free, "status": text, "playback_url": text,
    });
    let clip = json!({
        "id": text, "url": text, "video_url": text, "seconds": whole, "created_at": {"type": "string", "format": "date-time"},
        "width": whole, "height": whole, "bytes": whole, "params": free,
    });
    let seconds = json!({"type": ["integer", "null"], "minimum": 3, "maximum": 10, "default": 5});
    let mut created = stream.clone();
    created["control_token"] = text.clone();
    json!({
        "Params": wanted(),
        "CreateStream": request(),
        "UpdateStream": update(),
        "CreatedStream": object(created, true),
        "Stream": object(stream, true),
        "StreamList": object(json!({"success": {"const": true}, "data": {"type": "array", "items": reference("Stream")}}), true),
        "CreateClip": {"type": "object", "properties": {"seconds": seconds}},
        "Clip": object(clip, true),
        "Deleted": object(json!({"success": {"const": true}, "data": free}), true),
        "Taken": object(json!({"success": {"const": true}, "message": text, "was_censored": flag}), true),
        "ApiKey": object(json!({"apiKey": text}), true),
        "Health": object(json!({"status": text, "timestamp": text, "version": text, "streams": whole, "sessions": whole}), false),
        "Status": object(json!({"success": flag, "error": text_or_null, "data": {"type": ["object", "null"]}}), true),
        "Recommendations": object(json!({"machine": free, "models": {"type": "array", "items": free}}), true),
        "Error": object(
            json!({
                "success": {"const": false}, "error": text, "code": text, "status": whole, "details": {},
                "requestId": text, "traceId": text,
            }),
            true,
        ),
    })
}

/// The schema of a request body. Other keys are accepted, and have no effect.
fn request() -> Value {
    json!({
        "type": "object",
        "properties": {
            "pipeline": {"type": ["string", "null"]},
            "params": reference("Params"),
            "name": {"type": ["string", "null"], "maxLength": 256},
            "output_rtmp_url": {"type": ["string", "null"]},
            "adapt": {
                "type": ["boolean", "null"],
                "description": "Whether size and steps of the pictures follow the speed of the machine. Until a client sets width, height \
                    or t_index_list. Default: false.",
            },
            "pipeline_id": {"type": ["string", "null"]},
            "pipeline_params": {"type": ["object", "null"]},
        },
    })
}

/// The schema of the body of an update.
fn update() -> Value {
    let mut body = request();
    body["properties"]["transition"] = json!({
        "type": ["object", "null"],
        "description": "The prompt in params is reached gradually: over num_steps pictures, or in duration seconds.",
        "properties": {
            "num_steps": {"type": "integer", "minimum": 0, "maximum": 10_000},
            "duration": {"type": "number", "minimum": 0, "maximum": 600, "default": 1},
            "temporal_interpolation_method": {"enum": ["linear", "slerp"], "default": "linear"},
        },
        "additionalProperties": false,
    });
    body
}

/// The parameters, as the engine describes them: all are optional, and unknown ones are ignored.
fn wanted() -> Value {
    let mut params = schema().clone();
    if let Some(params) = params.as_object_mut() {
        for name in ["$schema", "title", "required", "additionalProperties"] {
            params.remove(name);
        }
    }
    params
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::body::Body;
    use tower_service::Service as _;

    use super::*;
    use crate::config::Config;

    #[test]
    fn every_reference_leads_to_a_schema() {
        let text = text(&"https://sd.example".parse().unwrap(), true);
        let document: Value = serde_json::from_str(&text).unwrap();
        let names = text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap());
        for name in names {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
        assert_eq!(document["servers"][0]["url"], "https://sd.example");
    }

    /// A page of another origin is refused by every operation, and a page that sends JSON with another type by each that
    /// reads JSON.
    #[tokio::test]
    async fn refusals_of_pages_are_described_for_every_operation() {
        let app = App::new(Config::for_tests(), SocketAddr::from(([127, 0, 0, 1], 1)), None).unwrap();
        let mut router = crate::app::router(app);
        for (path, item) in paths().as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
                let has_json = operation["requestBody"]["content"].get("application/json").is_some();
                for (origin, expected) in [("https://other.example", "403"), ("http://localhost", "415")] {
                    if expected == "415" && !has_json {
                        continue;
                    }
                    let request = axum::http::Request::builder().method(&*method.to_uppercase()).uri(path);
                    let request = request.header("origin", origin).header("content-length", "2");
                    let Ok(response) = router.call(request.body(Body::from("{}")).unwrap()).await;
                    assert_eq!(response.status().as_str(), expected, "{method} {path}");
                    let content = &operation["responses"][expected]["content"]["application/json"];
                    assert_eq!(content["schema"], reference("Error"), "{method} {path}");
                }
            }
        }
    }

    #[test]
    fn the_document_has_the_addresses_of_each_request() {
        for (keys, base) in [(true, "https://one.example"), (true, "https://two.example"), (false, "http://three")] {
            let document: Value = serde_json::from_str(&text(&base.parse().unwrap(), keys)).unwrap();
            assert_eq!(document["servers"], json!([{"url": base}]));
            assert_eq!(document["security"].as_array().unwrap().is_empty(), !keys);
        }
    }

    #[test]
    fn every_parameter_of_a_path_is_described() {
        for route in super::super::table() {
            if route.operations().iter().any(|(_, operation)| operation.is_listed()) {
                let is_known = |name| PATH_PARAMETERS.iter().any(|(known, _)| *known == name);
                assert!(route.parameters().all(is_known), "{}", route.path());
            }
        }
    }

    #[test]
    fn the_parameters_are_those_of_the_engine() {
        let params = wanted();
        assert!(params["properties"]["prompt"].is_object() && params.get("additionalProperties").is_none());
        assert_eq!(params["properties"].as_object().unwrap().len(), schema()["properties"].as_object().unwrap().len());
    }
}

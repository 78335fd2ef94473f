//! The description of the API, for programs: OpenAPI 3.1, made of the parameters' own schema and this file.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use dreamframe::params::schema;
use serde_json::{Value, json};

use crate::app::App;
use crate::http::json;
use crate::urls::Urls;

/// `GET /openapi.json`
pub(crate) async fn document(State(app): State<Arc<App>>, urls: Urls) -> Response {
    let keys = !app.config.keys.is_open();
    json(StatusCode::OK, &describe(&urls, keys))
}

fn describe(urls: &Urls, keys: bool) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "dreamframe",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Real-time diffusion over the network. Frames come in by WHIP, pictures go out by WHEP; the streams \
                            behind both are made and changed here. The parameters' names and meaning are Daydream's.",
        },
        "servers": [{"url": urls.base()}],
        "security": if keys { json!([{"bearer": []}]) } else { json!([]) },
        "tags": [{"name": "streams"}, {"name": "status"}, {"name": "media"}, {"name": "service"}],
        "paths": paths(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas(),
        },
    })
}

fn paths() -> Value {
    let stream_id = json!([path_parameter("id", "The stream's id")]);
    let query_id = json!([{"name": "id", "in": "query", "required": true, "schema": {"type": "string"}}]);
    let media = |key: &str, what: &str, tag: &str| {
        json!({
            "parameters": [path_parameter(key, what)],
            "options": open(operation(tag, "List the allowed methods", json!({"204": {"description": "A preflight's answer"}}))),
            "post": open(offer(what)),
        })
    };
    json!({
        "/v1/streams": {
            "post": with_body(operation("streams", "Make a stream", answers("201", "Stream", &[400, 401, 413, 429, 503])), "CreateStream", false),
            "get": operation("streams", "List one's own streams", answers("200", "StreamList", &[401])),
            "delete": with_parameters(operation("streams", "End a stream", answers("200", "Deleted", &[400, 401, 403, 404])), query_id),
        },
        "/v1/streams/{id}": {
            "parameters": stream_id,
            "get": operation("streams", "Read a stream", answers("200", "Stream", &[401, 403, 404])),
            "patch": with_body(
                operation("streams", "Change a stream: what is missing stays", answers("200", "Stream", &[400, 401, 403, 404, 413, 503])),
                "UpdateStream", false,
            ),
            "delete": operation("streams", "End a stream", answers("200", "Deleted", &[401, 403, 404])),
        },
        "/v1/streams/{id}/status": {
            "parameters": stream_id,
            "get": open(operation("status", "How a stream is: without its owner's key, its state alone", answers("200", "Status", &[404]))),
        },
        "/beta/streams/{id}/prompts": {
            "parameters": stream_id,
            "post": with_body(
                operation("streams", "Change parameters, as older clients do", answers("200", "Taken", &[400, 401, 403, 404, 413, 503])),
                "UpdateStream", false,
            ),
        },
        "/v1/streams/{id}/recording": {
            "parameters": stream_id,
            "get": with_parameters(
                operation("streams", "Get the last seconds as an MP4", file("video/mp4", &[400, 401, 403, 404])),
                json!([{"name": "seconds", "in": "query", "schema": {"type": "integer", "minimum": 3, "maximum": 10, "default": 5}}]),
            ),
        },
        "/v1/api-key": {
            "post": operation("service", "Return the caller's API key", answers("200", "ApiKey", &[401])),
        },
        "/live/video-to-video/{stream_key}/whip": media("stream_key", "A stream's key", "media"),
        "/live/video-to-video/{output}/whep": media("output", "A stream's key and -out", "media"),
        "/webrtc/{playback_id}": media("playback_id", "A stream's output_playback_id", "media"),
        "/health": {"get": open(operation("service", "Whether the server is there", answers("200", "Health", &[])))},
        "/ready": {"get": open(operation("service", "Whether the server takes streams", json!({
            "200": {"description": "It does", "content": {"application/json": {"schema": {"type": "object"}}}},
            "503": {"description": "The server is draining", "content": {"application/json": {"schema": {"type": "object"}}}},
        })))},
        "/metrics": {"get": operation("service", "Figures for Prometheus", figures())},
        "/openapi.json": {"get": open(operation("service", "This document", json!({
            "200": {"description": "The document", "content": {"application/json": {"schema": {"type": "object"}}}},
        })))},
    })
}

fn path_parameter(name: &str, what: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "description": what, "schema": {"type": "string"}})
}

fn operation(tag: &str, summary: &str, responses: Value) -> Value {
    json!({"tags": [tag], "summary": summary, "responses": responses})
}

/// An operation that needs no key.
fn open(mut operation: Value) -> Value {
    if let Some(operation) = operation.as_object_mut() {
        operation.insert("security".into(), json!([]));
    }
    operation
}

fn with_parameters(mut operation: Value, parameters: Value) -> Value {
    if let Some(operation) = operation.as_object_mut() {
        operation.insert("parameters".into(), parameters);
    }
    operation
}

fn with_body(mut operation: Value, schema: &str, required: bool) -> Value {
    if let Some(operation) = operation.as_object_mut() {
        let content = json!({"application/json": {"schema": reference(schema)}});
        operation.insert("requestBody".into(), json!({"required": required, "content": content}));
    }
    operation
}

fn offer(what: &str) -> Value {
    let sdp = json!({"application/sdp": {"schema": {"type": "string"}}});
    let mut responses = json!({
        "201": {
            "description": "The answer to the offer",
            "headers": {
                "Location": {"required": true, "schema": {"type": "string"}},
                "ETag": {"required": true, "schema": {"type": "string"}},
                "Livepeer-Playback-Url": {"schema": {"type": "string"}},
            },
            "content": sdp,
        },
    });
    if let Some(responses) = responses.as_object_mut() {
        // Refusals of offers are for a person to read.
        for status in [400, 404, 406, 413, 415, 422, 429, 503] {
            responses.insert(status.to_string(), json!({"description": "Why the offer is not answered"}));
        }
    }
    let mut operation = operation("media", &format!("Offer a connection ({what})"), responses);
    if let Some(operation) = operation.as_object_mut() {
        operation.insert("requestBody".into(), json!({"required": true, "content": sdp}));
    }
    operation
}

fn answers(status: &str, schema: &str, errors: &[u16]) -> Value {
    let json_of = |name: &str| json!({"application/json": {"schema": reference(name)}});
    let mut out = serde_json::Map::new();
    out.insert(status.into(), json!({"description": "Done", "content": json_of(schema)}));
    for error in errors {
        out.insert(error.to_string(), json!({"description": "Refused", "content": json_of("Error")}));
    }
    Value::Object(out)
}

/// An answer that is a file, or one of the usual errors.
fn file(kind: &str, errors: &[u16]) -> Value {
    let mut all = answers("200", "Error", errors);
    let content = json!({(kind): {"schema": {"type": "string", "format": "binary"}}});
    if let Some(all) = all.as_object_mut() {
        all.insert("200".into(), json!({"description": "The file", "content": content}));
    }
    all
}

fn figures() -> Value {
    let mut all = answers("200", "Error", &[401]);
    if let Some(all) = all.as_object_mut() {
        let content = json!({"text/plain": {"schema": {"type": "string"}}});
        all.insert("200".into(), json!({"description": "The figures", "content": content}));
    }
    all
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An object that has all of `properties`, and nothing else where `closed`.
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
    let stream = object(
        json!({
            "id": text, "name": text, "whip_url": text, "stream_key": text, "output_playback_id": text,
            "output_stream_url": text, "gateway_host": text, "created_at": {"type": "string", "format": "date-time"},
            "author": text, "from_playground": flag, "is_smoke_test": flag, "pipeline": {"const": "streamdiffusion"},
            "pipeline_id": text_or_null, "params": free, "pipeline_params": free,
        }),
        true,
    );
    json!({
        "Params": wanted(),
        "CreateStream": request(),
        "UpdateStream": request(),
        "Stream": stream,
        "StreamList": object(json!({"success": {"const": true}, "data": {"type": "array", "items": reference("Stream")}}), true),
        "Deleted": object(json!({"success": {"const": true}, "data": free}), true),
        "Taken": object(json!({"success": {"const": true}, "message": text, "was_censored": flag}), true),
        "ApiKey": object(json!({"apiKey": text}), true),
        "Health": object(json!({"status": text, "timestamp": text, "version": text, "streams": whole, "sessions": whole}), false),
        "Status": object(json!({"success": flag, "error": text_or_null, "data": {"type": ["object", "null"]}}), true),
        "Error": object(
            json!({
                "success": {"const": false}, "error": text, "code": text, "status": whole, "details": {},
                "requestId": text, "traceId": text,
            }),
            true,
        ),
    })
}

/// What a body may ask for. Other keys are taken, and have no effect.
fn request() -> Value {
    json!({
        "type": "object",
        "properties": {
            "pipeline": {"type": ["string", "null"]},
            "params": reference("Params"),
            "name": {"type": ["string", "null"], "maxLength": 256},
            "output_rtmp_url": {"type": ["string", "null"]},
            "pipeline_id": {"type": ["string", "null"]},
            "pipeline_params": {"type": ["object", "null"]},
        },
    })
}

/// The parameters, as the engine describes them: every one may be missing, and others have no effect.
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
    use super::*;

    #[test]
    fn every_reference_leads_to_a_schema() {
        let document = describe(&"https://sd.example".parse().unwrap(), true);
        let text = document.to_string();
        let names = text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap());
        for name in names {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
        assert_eq!(document["servers"][0]["url"], "https://sd.example");
    }

    #[test]
    fn the_parameters_are_those_of_the_engine() {
        let params = wanted();
        assert!(params["properties"]["prompt"].is_object() && params.get("additionalProperties").is_none());
        assert_eq!(params["properties"].as_object().unwrap().len(), schema()["properties"].as_object().unwrap().len());
    }
}

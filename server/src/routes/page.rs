//! The page at `/`, the player, and their files, which are embedded.

use std::sync::{Arc, OnceLock};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dreamframe::StreamDiffusionParams;
use dreamframe::load::ModelSource;
use dreamframe::params::{self, ProcessorName};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::app::{self, App};
use crate::auth::hex;
use crate::error::ApiResult;
use crate::media;
use crate::wire::Object;

/// One file of the page.
#[derive(Debug)]
struct File {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    tag: OnceLock<String>,
}

macro_rules! files {
    ($($name:literal is $kind:expr),+ $(,)?) => {
        static FILES: [File; [$($name),+].len()] =
            [$(File::new($name, $kind, include_bytes!(concat!("../page/", $name)))),+];
    };
}

impl File {
    const fn new(name: &'static str, kind: &'static str, bytes: &'static [u8]) -> Self {
        Self { name, kind, bytes, tag: OnceLock::new() }
    }

    /// A strong entity tag, computed once.
    fn tag(&self) -> &str {
        self.tag.get_or_init(|| {
            let digest = Sha256::digest(self.bytes);
            format!("\"{}\"", hex(digest.get(..12).unwrap_or_default()))
        })
    }
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

static PAGE: File = File::new("index.html", HTML, include_bytes!("../page/index.html"));
static PLAYER: File = File::new("player.html", HTML, include_bytes!("../page/player.html"));
static CLIP: File = File::new("clip.mp4", "video/mp4", media::CLIP);

files! {
    "base.css" is CSS,
    "clip.css" is CSS,
    "controls.css" is CSS,
    "player.css" is CSS,
    "stage.css" is CSS,
    "icon.svg" is "image/svg+xml",
    "addresses.js" is SCRIPT,
    "api.js" is SCRIPT,
    "app.js" is SCRIPT,
    "backoff.js" is SCRIPT,
    "clip.js" is SCRIPT,
    "coalesce.js" is SCRIPT,
    "controls.js" is SCRIPT,
    "devices.js" is SCRIPT,
    "dom.js" is SCRIPT,
    "extras.js" is SCRIPT,
    "figures.js" is SCRIPT,
    "figuring.js" is SCRIPT,
    "ice.js" is SCRIPT,
    "items.js" is SCRIPT,
    "link.js" is SCRIPT,
    "live.js" is SCRIPT,
    "local.js" is SCRIPT,
    "look.js" is SCRIPT,
    "looks.js" is SCRIPT,
    "mapping.js" is SCRIPT,
    "messages.js" is SCRIPT,
    "models.js" is SCRIPT,
    "panel.js" is SCRIPT,
    "params.js" is SCRIPT,
    "player.js" is SCRIPT,
    "playlist.js" is SCRIPT,
    "presets.js" is SCRIPT,
    "prompts.js" is SCRIPT,
    "record.js" is SCRIPT,
    "schema.js" is SCRIPT,
    "session.js" is SCRIPT,
    "share.js" is SCRIPT,
    "sources.js" is SCRIPT,
    "special.js" is SCRIPT,
    "stage.js" is SCRIPT,
}

/// The content security policy of all documents: files and requests of this server only, local pictures and video.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data: blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";
const PERMISSIONS: &str =
    "camera=(self), display-capture=(self), microphone=(self), midi=(self), fullscreen=(self), geolocation=()";
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// The query of `/`.
#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    /// The playback id of a stream, which the player then shows.
    v: Option<String>,
}

/// `GET /`: the page; with `?v=<playback id>` the player.
pub(crate) async fn page(asked: Result<Query<PageQuery>, QueryRejection>, headers: HeaderMap) -> Response {
    if asked.is_ok_and(|Query(asked)| asked.v.is_some()) {
        return document(&PLAYER, "*", &headers);
    }
    document(&PAGE, "'none'", &headers)
}

/// `GET /<stream key>-out`: the player. The page itself reports an unknown stream.
pub(crate) async fn player(Path(name): Path<String>, headers: HeaderMap) -> ApiResult {
    if !name.ends_with("-out") {
        return Err(app::no_route().await);
    }
    Ok(document(&PLAYER, "*", &headers))
}

/// `GET /page/{name}`: a file that the documents name.
pub(crate) async fn file(Path(name): Path<String>, headers: HeaderMap) -> ApiResult {
    let found = FILES.iter().chain([&CLIP]).find(|file| file.name == name);
    match found {
        Some(file) => Ok(answer(file, &headers)),
        None => Err(app::no_route().await),
    }
}

/// `GET /v1/schema`: the data for the page's controls. It is written once: that takes a millisecond, and the route needs no
/// key, so that many requests would take the processor time of the streams.
pub(crate) async fn schema(State(app): State<Arc<App>>) -> Response {
    let body = app.page_schema.get_or_init(|| Bytes::from(page_schema(&app).to_string())).clone();
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn page_schema(app: &App) -> Value {
    let fields: Vec<_> = params::FIELDS.iter().map(field).collect();
    let processors: Map<_, _> = ProcessorName::ALL.iter().map(|&name| (name.to_string(), processor(name))).collect();
    let models: Map<_, _> =
        params::known_models().map(|(id, controlnets)| (id.to_owned(), model(id, &controlnets))).collect();
    let demo_alone = app.config.source == ModelSource::Demo;
    json!({
        "schema": params::schema(),
        "fields": fields,
        "processors": processors,
        "models": models,
        "defaults": defaults(app),
        "demo_alone": demo_alone,
    })
}

/// The parameters that the page begins with.
fn defaults(app: &App) -> StreamDiffusionParams {
    let mut defaults = app.config.default_params();
    // Daydream's clients know the demo model by another name; the page shows its own.
    if app.config.source == ModelSource::Demo {
        defaults.model_id = params::DEMO_MODEL.into();
    }
    defaults
}

/// The parameters that the page begins with, as its presets have them.
pub(super) fn default_object(app: &App) -> Object {
    defaults(app).to_value().as_object().cloned().unwrap_or_default()
}

/// Whether `GET /page/{name}` returns a file.
#[cfg(test)]
pub(super) fn has_file(name: &str) -> bool {
    FILES.iter().any(|file| file.name == name)
}

fn field(field: &params::Field) -> Value {
    json!({"path": field.path, "cost": field.cost, "dearer": field.cost_rule.map(params::CostRule::description)})
}

fn processor(name: ProcessorName) -> Value {
    let alias = Some(name.plain()).filter(|plain| *plain != name);
    json!({
        "latent": name.is_latent(),
        "network": name.has_weights(),
        "alias": alias,
        "schema": params::processor_schema(name),
    })
}

fn model(id: &str, controlnets: &[&str]) -> Value {
    let mut with_adapter = StreamDiffusionParams { model_id: id.to_owned(), ..StreamDiffusionParams::default() };
    with_adapter.ip_adapter.enabled = true;
    let refused = with_adapter.violations().iter().any(|violation| violation.path == "ip_adapter.enabled");
    json!({"controlnets": controlnets, "ip_adapter": !refused})
}

/// Answers with a document, which may be framed by `ancestors`.
fn document(file: &'static File, ancestors: &str, headers: &HeaderMap) -> Response {
    let mut response = answer(file, headers);
    protect(&mut response, ancestors);
    response
}

/// Adds the headers that limit what a document may do, and that let `ancestors` frame it.
pub(super) fn protect(response: &mut Response, ancestors: &str) {
    let policy = format!("{POLICY}; frame-ancestors {ancestors}");
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response.headers_mut().insert(PERMISSIONS_POLICY, HeaderValue::from_static(PERMISSIONS));
}

/// Returns a file, or 304 if the client has it.
fn answer(file: &'static File, asked: &HeaderMap) -> Response {
    let tag = file.tag();
    let has = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = has.flat_map(|value| value.split(',')).any(|one| one.trim().trim_start_matches("W/") == tag);
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, file.kind)], file.bytes).into_response()
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    // Revalidated each time with a short response, since another version of the program has other files.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(file: &File) -> &str {
        std::str::from_utf8(file.bytes).unwrap()
    }

    #[test]
    fn the_switches_name_the_networks_of_the_demo_model() {
        use dreamframe::params::{DEMO_CONTROLNETS, DEMO_LORA};
        let switches = text(FILES.iter().find(|file| file.name == "extras.js").unwrap());
        for id in DEMO_CONTROLNETS.into_iter().chain([DEMO_LORA]) {
            assert!(switches.contains(&format!("\"{id}\"")), "{id}");
        }
    }

    #[test]
    fn every_script_and_style_sheet_of_the_folder_is_served_and_types_are_not() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_part = (name.ends_with(".js") || name.ends_with(".css")) && name != "types.js";
            assert!(!is_part || FILES.iter().any(|file| file.name == name), "{name}");
        }
    }

    #[test]
    fn what_the_files_load_is_there_and_comes_from_nowhere_else() {
        for file in FILES.iter().chain([&PAGE, &PLAYER]) {
            let text = text(file);
            for (_, rest) in text.match_indices("from \"./").map(|(at, found)| text.split_at(at + found.len())) {
                let name = rest.split('"').next().unwrap();
                assert!(FILES.iter().any(|file| file.name == name), "{} imports {name}", file.name);
            }
            for (_, rest) in text.match_indices("=\"page/").map(|(at, found)| text.split_at(at + found.len())) {
                let name = rest.split('"').next().unwrap();
                assert!(FILES.iter().any(|file| file.name == name), "{} names {name}", file.name);
            }
            for foreign in
                ["src=\"http", "href=\"http", "import(\"http", "from \"http", "url(http", "style=\"", "onclick=\""]
            {
                assert!(!text.contains(foreign), "{} has {foreign}", file.name);
            }
        }
    }

    #[test]
    fn a_file_that_the_client_has_is_not_sent_again() {
        let first = answer(&PAGE, &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_TYPE], HTML);
        let mut again = HeaderMap::new();
        let known = format!("\"other\", W/{}", first.headers()[header::ETAG].to_str().unwrap());
        again.insert(header::IF_NONE_MATCH, HeaderValue::from_str(&known).unwrap());
        assert_eq!(answer(&PAGE, &again).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer(&PLAYER, &again).status(), StatusCode::OK);
    }

    /// Clients may request a file any number of times.
    #[test]
    fn a_file_is_hashed_once() {
        assert!(std::ptr::eq(CLIP.tag(), CLIP.tag()));
        assert_eq!(answer(&CLIP, &HeaderMap::new()).headers()[header::ETAG], CLIP.tag());
        assert!(CLIP.tag() != PAGE.tag() && CLIP.tag().len() == 26, "{}", CLIP.tag());
    }

    #[tokio::test]
    async fn the_root_is_the_page_and_with_a_playback_id_the_player() {
        let asked = |v: Option<&str>| Ok(Query(PageQuery { v: v.map(str::to_owned) }));
        let policy =
            |response: &Response| response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let page = page(asked(None), HeaderMap::new()).await;
        assert!(policy(&page).ends_with("frame-ancestors 'none'"));
        assert!(policy(&page).starts_with("default-src 'none'; script-src 'self';"));
        let player = super::page(asked(Some("lp_1")), HeaderMap::new()).await;
        assert!(policy(&player).ends_with("frame-ancestors *"));
        assert_ne!(page.headers()[header::ETAG], player.headers()[header::ETAG]);
    }

    #[tokio::test]
    async fn names_that_are_no_file_and_no_output_are_not_found() {
        for name in ["../app.rs", "types.js", "", "index.html"] {
            let error = file(Path(name.into()), HeaderMap::new()).await.unwrap_err();
            assert_eq!(error.status(), StatusCode::NOT_FOUND, "{name}");
        }
        assert!(player(Path("stk_1".into()), HeaderMap::new()).await.is_err());
        assert!(player(Path("stk_1-out".into()), HeaderMap::new()).await.is_ok());
        assert!(file(Path("clip.mp4".into()), HeaderMap::new()).await.is_ok());
    }

    #[test]
    fn models_list_whether_an_adapter_is_compatible() {
        assert_eq!(model("IDKiro/sdxs-512-0.9", &[])["ip_adapter"], false);
        assert_eq!(model("demo", &[])["ip_adapter"], true);
        assert_eq!(model("Lykon/dreamshaper-8", &[])["ip_adapter"], true);
    }
}

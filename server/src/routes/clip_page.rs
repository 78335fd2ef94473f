//! The page of a clip: HTML with the clip's values in it, all of them escaped, so that programs that show previews of links
//! read them without scripts.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use serde_json::Value;

use super::{clips, page};
use crate::app::App;
use crate::clips::{Clip, link_to_settings, prompt_text};
use crate::ids;
use crate::urls::Urls;
use crate::wire::Object;

const PAGE: &str = include_str!("../page/clip.html");
const NONE: &str = include_str!("../page/no-clip.html");
/// The longest description for previews of links, in characters.
const LONGEST_PREVIEW: usize = 200;

/// `GET /clips/{clip}`: the clip with its settings. Other pages may frame it, as they may frame the player.
pub(crate) async fn show(State(app): State<Arc<App>>, urls: Urls, Path(id): Path<String>) -> Response {
    let (status, text) = match clips::find(&app, &id) {
        Ok(clip) => (StatusCode::OK, render(&clip, &urls, &page::default_object(&app))),
        Err(_) => (StatusCode::NOT_FOUND, NONE.to_owned()),
    };
    let mut response = (status, Html(text)).into_response();
    page::protect(&mut response, "*");
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn render(clip: &Clip, urls: &Urls, defaults: &Object) -> String {
    let (info, path) = (&clip.info, clips::path(clip));
    let prompt = info.params.get("prompt").map(prompt_text).unwrap_or_default();
    let preview = match prompt.chars().take(LONGEST_PREVIEW).collect::<String>() {
        text if text.trim().is_empty() => format!("A clip of {} seconds", info.seconds),
        text => text,
    };
    let (url, video_url) = (urls.absolute(&path), urls.absolute(&format!("{path}/video.mp4")));
    let base = format!("{}/video.mp4", info.id);
    let settings = link_to_settings(&info.params, defaults).map_or_else(String::new, |link| {
        format!("<a class=\"button main-button\" id=\"use\" href=\"../{}\">Use these settings</a>", escaped(&link))
    });
    let name = format!("dreamframe-{}.mp4", ids::iso(info.created_at).get(..19).unwrap_or_default().replace(':', "-"));
    let (width, height) = (info.width.to_string(), info.height.to_string());
    let rows: String = rows(info.width, info.height, &info.params)
        .iter()
        .map(|(term, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>", escaped(term), escaped(value)))
        .collect();
    let text = |text: &str| escaped(text).into_owned();
    fill(
        PAGE,
        &[
            ("preview", text(&preview)),
            ("url", text(&url)),
            ("video_url", text(&video_url)),
            ("video", text(&base)),
            ("width", width),
            ("height", height),
            ("prompt", text(if prompt.trim().is_empty() { "No prompt" } else { &prompt })),
            ("rows", rows),
            ("settings", settings),
            ("name", text(&name)),
        ],
    )
}

/// The main parameters, as words.
fn rows(width: u64, height: u64, params: &Object) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let mut add =
        |name: &'static str, value: Option<String>| rows.extend(value.filter(|v| !v.is_empty()).map(|v| (name, v)));
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let is_on = |one: &&Value| one.get("enabled").and_then(Value::as_bool) != Some(false);
    let nets = params.get("controlnets").and_then(Value::as_array).into_iter().flatten().filter(is_on);
    let nets = nets.filter_map(|net| net.get("model_id")?.as_str()).collect::<Vec<_>>().join(", ");
    let loras = params.get("lora_dict").and_then(Value::as_object).into_iter().flatten();
    let loras = loras.map(|(name, scale)| format!("{name} ({scale})")).collect::<Vec<_>>().join(", ");
    let steps = params.get("t_index_list").and_then(Value::as_array).into_iter().flatten();
    let steps = steps.map(Value::to_string).collect::<Vec<_>>().join(", ");
    add("Negative prompt", params.get("negative_prompt").and_then(plain));
    add("Model", params.get("model_id").and_then(plain));
    add("Size", (width > 0 && height > 0).then(|| format!("{width}×{height}")));
    add("Steps", Some(steps));
    add("Seed", params.get("seed").map(prompt_text));
    add("Guidance", params.get("guidance_scale").and_then(plain));
    add("ControlNets", Some(nets));
    add("LoRAs", Some(loras));
    rows
}

/// Puts values in place of `{{name}}`. In one pass, so that a value with braces is no name.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let (name, end) = after.split_once("}}").unwrap_or((after, ""));
        out.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
        rest = end;
    }
    out.push_str(rest);
    out
}

/// Replaces what has a meaning in HTML, in text and in quoted attributes.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 32);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clips::{ClipInfo, Clips};

    fn page_of(params: Value) -> String {
        let info = ClipInfo {
            id: "clip_1111111111111111".into(),
            stream: "str_1".into(),
            author: "key_1".into(),
            created_at: 0,
            seconds: 4,
            width: 512,
            height: 256,
            bytes: 1,
            params: params.as_object().unwrap().clone(),
        };
        let clip = Clips::open(None, 100_000).unwrap().store(info, vec![0]).unwrap();
        let defaults = json!({"prompt": "", "seed": 2, "lora_dict": {}, "model_id": "demo", "negative_prompt": ""});
        render(&clip, &"https://sd.example/a".parse().unwrap(), defaults.as_object().unwrap())
    }

    #[test]
    fn a_page_names_its_video_by_absolute_addresses_for_previews() {
        let page = page_of(json!({"prompt": "snow", "seed": 7}));
        for expected in [
            "<meta property=\"og:video\" content=\"https://sd.example/a/clips/clip_1111111111111111/video.mp4\">",
            "<meta property=\"og:url\" content=\"https://sd.example/a/clips/clip_1111111111111111\">",
            "<meta property=\"og:video:width\" content=\"512\">",
            "src=\"clip_1111111111111111/video.mp4\"",
            "href=\"../#preset=%7B%22name%22%3A%22snow%22%2C%22params%22%3A%7B%22prompt%22%3A%22snow%22%2C%22seed%22%3A7%7D%7D\"",
            "download=\"dreamframe-1970-01-01T00-00-00.mp4\"",
            "<dt>Seed</dt><dd>7</dd>",
        ] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert!(!page.contains("{{") && !page.contains("str_1") && !page.contains("key_1"), "{page}");
    }

    #[test]
    fn text_of_users_is_no_markup() {
        let attack = "\"'><script>alert(1)</script>{{url}}&";
        let clean = page_of(json!({}));
        let page = page_of(json!({
            "prompt": attack, "negative_prompt": attack, "model_id": attack, "lora_dict": {attack: 1},
            "controlnets": [{"model_id": attack}], "seed": [[attack, 1]],
        }));
        for mark in ["<script", "</script"] {
            assert_eq!(page.matches(mark).count(), clean.matches(mark).count(), "{page}");
        }
        // Five rows, the prompt, and the description three times.
        assert_eq!(
            page.matches("&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;{{url}}&amp;").count(),
            9,
            "{page}"
        );
        let list = page_of(json!({"prompt": [[attack, 1]]}));
        assert_eq!(list.matches("<script").count(), clean.matches("<script").count(), "{list}");
    }

    #[test]
    fn a_clip_whose_settings_are_too_long_for_a_link_has_none() {
        assert!(page_of(json!({"prompt": "snow"})).contains("id=\"use\""));
        assert!(!page_of(json!({"prompt": "ä".repeat(8000)})).contains("id=\"use\""));
    }

    #[test]
    fn files_of_the_pages_are_served() {
        for text in [PAGE, NONE] {
            let names: Vec<_> = text.split("=\"../page/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
            assert!(names.len() > 1 && names.iter().all(|name| page::has_file(name)), "{names:?}");
            for foreign in ["src=\"http", "href=\"http", "style=\"", "onclick=\"", "<style"] {
                assert!(!text.contains(foreign), "{foreign}");
            }
        }
    }
}

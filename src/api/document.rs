//! The OpenAPI document, and the pages that show it.

use super::{Operations, PREFIX};
use poem::endpoint::make_sync;
use poem::http::header;
use poem::{Endpoint, EndpointExt, Response};
use poem_openapi::{ContactObject, LicenseObject, OpenApi, OpenApiService, ServerObject};
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// What a browser may do with the pages: nothing but show them and call this server.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data: 'self'; connect-src 'self'; base-uri 'none'; form-action \
                      'none'; frame-ancestors 'none'";

/// Examples of requests and answers, by operation.
const EXAMPLES: &str = include_str!("examples.json");

/// Bodies that allow no other fields, with those of which there must be exactly one: rules that the
/// types cannot say.
const BODIES: [(&str, &[&str]); 3] = [
    ("KickRequest", &["channel", "address", "name", "all"]),
    ("BanRequest", &["name", "token", "address"]),
    ("LogLevel", &[]),
];

const DESCRIPTION: &str = "See everything that goes on in a Skynet hub, and act on it.\n\n\
    Every operation needs the header `Authorization: Bearer` with a token; `skynet token` prints \
    the owner's:\n\n\
    `curl -H \"Authorization: Bearer $(skynet token)\" http://127.0.0.1:4568/api/v1/channels`\n\n\
    Errors are problems as RFC 9457 has them, with a `code` for programs. Channels are texts or \
    numbers: `5` and `\"5\"` are two.";

/// The service of `api`.
pub(super) fn service<T: OpenApi>(api: T) -> OpenApiService<T, ()> {
    OpenApiService::new(api, "Skynet", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .contact(ContactObject::new().name("The owner of this server"))
        .license(LicenseObject::new("MIT").url("https://spdx.org/licenses/MIT.html"))
        .server(ServerObject::new(PREFIX).description("This server"))
}

/// What an operation may answer: its path, with parameters in braces, its method, and a status.
pub fn answers() -> Vec<(String, String, String)> {
    let document: Value = parsed(&document());
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let mut answers = Vec::new();
    for (path, operations) in members(&document["paths"]) {
        for (method, operation) in members(&operations) {
            for (status, _) in members(&operation["responses"]) {
                answers.push((format!("{PREFIX}{path}"), method.to_uppercase(), status));
            }
        }
    }
    answers
}

/// The OpenAPI document, as JSON with a line break at its end.
pub fn document() -> String {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(write).clone()
}

fn write() -> String {
    let mut document: Value = parsed(&service(Described).spec());
    let examples: Map<String, Value> = parsed(EXAMPLES);
    for (name, choices) in BODIES {
        let Some(schema) = document.pointer_mut(&format!("/components/schemas/{name}")) else {
            continue;
        };
        schema["additionalProperties"] = false.into();
        let required = |field: &&str| json!({ "required": [field] });
        if !choices.is_empty() {
            schema["oneOf"] = choices.iter().map(required).collect();
        }
        if let Some(all) = schema.pointer_mut("/properties/all") {
            all["enum"] = json!([true]);
        }
    }
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let operations = paths.into_iter().flat_map(|paths| paths.values_mut());
    for operation in operations.filter_map(Value::as_object_mut).flat_map(|path| path.values_mut())
    {
        let id = operation.get("operationId").and_then(Value::as_str);
        let Some(example) = id.and_then(|id| examples.get(id)) else { continue };
        if let Some(request) = example.get("request") {
            show(operation.pointer_mut("/requestBody"), request);
        }
        if let Some(answer) = example.get("answer") {
            for status in ["200", "201"] {
                show(operation.pointer_mut(&format!("/responses/{status}")), answer);
            }
        }
    }
    format!("{document:#}\n")
}

/// Puts an example beside the schema of each kind of content.
fn show(holder: Option<&mut Value>, example: &Value) {
    let contents = holder.and_then(|holder| holder.get_mut("content")?.as_object_mut());
    for (kind, content) in contents.into_iter().flatten() {
        // Where kinds differ, each has an example of its own.
        content["example"] = example.get(kind).unwrap_or(example).clone();
    }
}

/// What this program has written itself is read.
fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("it is JSON: a test reads it")
}

/// The operations without a hub behind them, to be described.
struct Described;

impl OpenApi for Described {
    fn meta() -> Vec<poem_openapi::registry::MetaApi> {
        Operations::meta()
    }

    fn register(registry: &mut poem_openapi::registry::Registry) {
        Operations::register(registry);
    }

    fn add_routes(
        self,
        _: &mut std::collections::HashMap<
            String,
            std::collections::HashMap<poem::http::Method, poem::endpoint::BoxEndpoint<'static>>,
        >,
    ) {
    }
}

/// `/openapi.json`.
pub(super) fn json() -> impl Endpoint<Output = Response> + 'static {
    page("application/json", document)
}

/// `/docs`: Swagger UI, all of it in the page.
pub(super) fn docs() -> impl Endpoint<Output = Response> + 'static {
    page("text/html; charset=utf-8", || {
        let service = service(Described);
        let html = service.swagger_ui_html().replace(&service.spec(), document().trim_end());
        format!("<!DOCTYPE html>{html}")
    })
}

/// The index.
pub(super) fn index() -> impl Endpoint<Output = Response> + 'static {
    page("text/html; charset=utf-8", || include_str!("index.html").to_owned())
}

/// A page that is written when it is first asked for: Swagger UI is some MiB, and most owners will
/// not look at it each time the hub runs.
fn page(
    content_type: &'static str,
    write: fn() -> String,
) -> impl Endpoint<Output = Response> + 'static {
    let text = OnceLock::new();
    poem::get(make_sync(move |_| {
        let text: &bytes::Bytes = text.get_or_init(|| write().into());
        Response::builder()
            .content_type(content_type)
            .header(header::CONTENT_SECURITY_POLICY, POLICY)
            .header(header::REFERRER_POLICY, "no-referrer")
            .body(text.clone())
    }))
    .map_to_response()
}

//! Errors as RFC 9457 writes them, `application/problem+json`; also those of the framework.
//!
//! A [`Problem`] is what is answered. An operation says which statuses its problems have by a type
//! of its own, made with `failures!`, so that its documentation cannot forget one.

use super::paths::Paths;
use crate::config::{self, ConfigError};
use crate::protocol::RefusalReason;
use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::error::{ContentTypeError, ParseParamError, ParsePathError};
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaSchema, MetaSchemaRef};
use poem_openapi::{Enum, Object};
use serde::Serialize;

/// What stands in `Content-Type`.
const CONTENT_TYPE: &str = "application/problem+json";

/// Answered to every operation: no token, a browser led astray, too many wrong tokens, a head too
/// large for the listener.
const ALWAYS: [u16; 4] = [401, 421, 429, 431];

/// Why a request was refused, in a word that does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Serialize)]
#[oai(rename = "ProblemCode", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A parameter of the path, the query or a header is wrong; `errors` names it.
    InvalidParameter,
    /// The body is not what the operation takes; `errors` names the field, where it is one.
    InvalidBody,
    /// No token was given, or none that is known.
    Unauthorized,
    /// The token may read only.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The path is known, the method is not; `Allow` lists those that are.
    MethodNotAllowed,
    /// The client has no name that could be banned.
    NoName,
    /// The body is larger than this server takes, or the message larger than listeners take.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// The body must be JSON and say so.
    UnsupportedMediaType,
    /// The request asks for a host that this is not.
    Misdirected,
    /// The key of idempotence was used with another body.
    KeyReused,
    /// Too many wrong tokens wait for their answer.
    TooManyFailures,
    /// As many streams as there may be are being read.
    TooManyStreams,
    /// There are as many bans as there may be.
    TooManyBans,
    /// The file of the bans cannot be written, or somebody else has changed it; the change holds until
    /// the next start at most.
    BansNotSaved,
    /// The configuration that was to be read again cannot be used; `errors` names what is wrong.
    InvalidConfig,
    /// The hub is stopping.
    Stopping,
    /// The server failed.
    Internal,
}

/// What is wrong with one field or parameter.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct FieldError {
    /// The field or parameter.
    pub field: String,
    /// What is wrong with it, and what is allowed.
    pub detail: String,
}

/// A refused request, as RFC 9457 describes it.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct Problem {
    /// Always `about:blank`: what kind of problem it is stands in `code`.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status of the answer.
    #[oai(validator(minimum(value = "400"), maximum(value = "599")))]
    pub status: u16,
    /// What was wrong, and what is allowed.
    pub detail: String,
    /// The same for programs.
    pub code: Code,
    /// What was wrong with single fields or parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[oai(default, skip_serializing_if_is_empty)]
    pub errors: Vec<FieldError>,
    #[oai(skip)]
    #[serde(skip)]
    headers: Headers,
}

/// The header that goes with some statuses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Headers(Option<Box<(header::HeaderName, HeaderValue)>>);

impl Problem {
    /// A problem in one sentence.
    pub fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            errors: Vec::new(),
            headers: Headers(match status {
                StatusCode::UNAUTHORIZED => {
                    let value = HeaderValue::from_static("Bearer realm=\"skynet\"");
                    Some(Box::new((header::WWW_AUTHENTICATE, value)))
                }
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    Some(Box::new((header::RETRY_AFTER, HeaderValue::from_static("1"))))
                }
                _ => None,
            }),
        }
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, detail)
    }

    /// A parameter is wrong.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::of_field(Code::InvalidParameter, name, detail.into())
    }

    /// A field of the body is wrong.
    pub fn field(name: &str, detail: impl Into<String>) -> Self {
        Self::of_field(Code::InvalidBody, name, detail.into())
    }

    /// The body as a whole is wrong.
    pub fn body(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidBody, detail)
    }

    /// The body is too large.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, detail)
    }

    /// The configuration that was to be read again cannot be used.
    pub fn config(error: &ConfigError) -> Self {
        let detail = format!("nothing has been changed: {error}");
        let mut problem = Self::new(StatusCode::CONFLICT, Code::InvalidConfig, detail);
        if let ConfigError::Invalid(problems) = error {
            let of =
                |p: &config::Problem| FieldError { field: p.key.clone(), detail: p.to_string() };
            problem.errors = problems.iter().map(of).collect();
        }
        problem
    }

    /// The server failed, which is not the caller's fault and nothing it could understand.
    pub fn internal() -> Self {
        let detail = "the server failed; its log says more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, detail)
    }

    fn of_field(code: Code, field: &str, detail: String) -> Self {
        let mut problem = Self::new(StatusCode::BAD_REQUEST, code, format!("{field}: {detail}"));
        problem.errors.push(FieldError { field: field.to_owned(), detail });
        problem
    }

    /// What an error of the framework is. `path` is the request's.
    pub(super) fn of_error(error: &poem::Error, path: &str, paths: &Paths) -> Self {
        if let Some(error) = error.downcast_ref::<ParseParamError>() {
            return Self::parameter(error.name, readable(&error.reason));
        }
        if let Some(error) = error.downcast_ref::<ParsePathError>() {
            let name = paths.parameter(path, error.name).unwrap_or("path");
            return Self::parameter(name, readable(&error.reason));
        }
        if error.is::<poem::error::ParsePathError>() {
            return Self::parameter("path", "its escapes must be those of UTF-8");
        }
        if error.is::<NotFoundError>() {
            return Self::not_found("nothing is here; /openapi.json lists what there is");
        }
        if error.is::<MethodNotAllowedError>() {
            let allowed = paths.allowed(path);
            let detail = format!("this path allows {allowed}");
            let (status, code) = (StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed);
            let mut problem = Self::new(status, code, detail);
            let allow = HeaderValue::try_from(allowed).ok();
            problem.headers.0 = allow.map(|allowed| Box::new((header::ALLOW, allowed)));
            return problem;
        }
        if error.is::<ContentTypeError>() {
            let detail = "the body must be JSON, with Content-Type: application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Self::new(status, Code::UnsupportedMediaType, detail);
        }
        match error.status() {
            status if status.is_client_error() => {
                Self::new(status, Code::InvalidBody, error.to_string())
            }
            _ => {
                tracing::error!(path, %error, "a request failed");
                Self::internal()
            }
        }
    }
}

/// A refusal of the protocol, without the kind of error that clients expect in front.
pub(super) fn words(reason: &RefusalReason) -> String {
    let words = reason.to_string();
    let plain = words.strip_prefix("Error: ").or_else(|| words.strip_prefix("SyntaxError: "));
    plain.map_or(words.clone(), str::to_owned)
}

/// The framework's words in words for people.
fn readable(reason: &str) -> String {
    if let Some(rule) = reason.split("verification failed. ").nth(1) {
        let (name, bounds) = rule.trim_end_matches(')').split_once('(').unwrap_or((rule, ""));
        let bound = bounds.split(',').next().unwrap_or(bounds);
        return match name {
            "minimum" => format!("it must be at least {bound}"),
            "maximum" => format!("it must be at most {bound}"),
            "minLength" => format!("it must have {bound} characters or more"),
            "maxLength" => format!("it must have at most {bound} characters"),
            "maxItems" => format!("it may be given at most {bound} times"),
            _ => rule.to_owned(),
        };
    }
    // `failed to parse "TYPE": WORDS (occurred while parsing "TYPE")`
    let words = reason.split_once("\": ").map_or(reason, |(_, rest)| rest);
    let words = words.split(" (occurred while parsing").next().unwrap_or(words);
    match words {
        _ if words.contains("digit") || words.contains("from empty string") => {
            "it must be a whole number".to_owned()
        }
        _ if words.contains("number too") => "it is out of range".to_owned(),
        _ if words.contains("expects an input value") => "it must be given, in UTF-8".to_owned(),
        _ => words.to_owned(),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::builder()
            .status(StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
            .content_type(CONTENT_TYPE)
            // Texts and numbers alone: this cannot fail.
            .body(serde_json::to_vec(&self).unwrap_or_default());
        if let Some((name, value)) = self.headers.0.map(|header| *header) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        Self::from_response(problem.into_response())
    }
}

/// How the documentation describes the problems of these statuses, and those of every operation.
pub(super) fn responses(statuses: &[u16]) -> Vec<MetaResponse> {
    let mut all: Vec<u16> = statuses.iter().chain(&ALWAYS).copied().collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(response).collect()
}

fn response(status: u16) -> MetaResponse {
    let header = |name: &str, description: &str, schema: MetaSchema| MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required: true,
        deprecated: false,
        schema: MetaSchemaRef::Inline(Box::new(schema)),
    };
    let problem = MetaMediaType {
        content_type: CONTENT_TYPE,
        schema: MetaSchemaRef::Reference("Problem".to_owned()),
    };
    MetaResponse {
        description: description(status),
        status: Some(status),
        status_range: None,
        // The last comes from the listener, which knows nothing of problems.
        content: if status == 431 { vec![] } else { vec![problem] },
        headers: match status {
            401 => vec![header(
                "WWW-Authenticate",
                "How to authenticate: by a bearer token.",
                MetaSchema::new("string"),
            )],
            429 | 503 => vec![header(
                "Retry-After",
                "Seconds after which to try again.",
                MetaSchema { minimum: Some(0.0), ..MetaSchema::new("integer") },
            )],
            _ => vec![],
        },
    }
}

fn description(status: u16) -> &'static str {
    match status {
        400 => "A parameter or the body is wrong; `errors` names what.",
        401 => "No token was given, or none that is known.",
        403 => "The token may read only; this changes something.",
        404 => "There is no such thing.",
        409 => "It cannot be done as things are.",
        408 => "The body did not arrive in time.",
        413 => "The body is too large.",
        415 => "The body must be JSON and say so.",
        421 => "The request asks for a host that this is not; see `admin.allowed_hosts`.",
        422 => "The key of idempotence was used with another body.",
        429 => "Too many wrong tokens wait for their answer.",
        431 => "The path, the query and the headers together are too large.",
        500 => "The server could not do all of it; `detail` says what.",
        503 => "Not now; try again later.",
        _ => "An error.",
    }
}

/// Makes the type of an operation's problems, with their statuses beside those of every operation.
macro_rules! failures {
    ($(#[$documentation:meta])* $name:ident: $($status:literal),*) => {
        $(#[$documentation])*
        #[derive(Debug)]
        pub struct $name($crate::api::problem::Problem);

        impl From<$crate::api::problem::Problem> for $name {
            fn from(problem: $crate::api::problem::Problem) -> Self {
                debug_assert!([$($status),*].contains(&problem.status), "{problem:?}");
                Self(problem)
            }
        }

        impl From<$name> for poem::Error {
            fn from(failure: $name) -> Self {
                failure.0.into()
            }
        }

        impl poem_openapi::ApiResponse for $name {
            fn meta() -> poem_openapi::registry::MetaResponses {
                let responses = $crate::api::problem::responses(&[$($status),*]);
                poem_openapi::registry::MetaResponses { responses }
            }

            fn register(registry: &mut poem_openapi::registry::Registry) {
                <$crate::api::problem::Problem as poem_openapi::types::Type>::register(registry);
            }
        }
    };
}

pub(super) use failures;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_utf_8_is_a_wrong_parameter_and_no_wrong_body() {
        let error = poem::Error::from(poem::error::ParsePathError);
        let problem = Problem::of_error(&error, "/channels/%ff", &Paths::of::<()>(""));
        assert_eq!((problem.status, problem.code), (400, Code::InvalidParameter));
        assert_eq!(problem.errors[0].field, "path");
    }
}

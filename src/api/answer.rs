//! What operations answer when all is well, and how it is documented.

use super::problem::Problem;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type;
use serde::Serialize;
use std::marker::PhantomData;

const JSON: &str = "application/json";
const CREATED: u16 = 201;

/// A JSON document in the shape of `T`; with 201, and the path of what was made.
#[derive(Debug)]
pub struct Answer<T, const STATUS: u16 = 200> {
    /// None if it could not be written.
    json: Option<Vec<u8>>,
    location: Option<String>,
    shape: PhantomData<T>,
}

/// 204.
#[derive(Debug)]
pub struct Done;

impl<T: Serialize, const STATUS: u16> Answer<T, STATUS> {
    /// A document.
    pub fn of(body: &T) -> Self {
        let json = serde_json::to_vec(body)
            .inspect_err(|error| tracing::error!(%error, "an answer cannot be written"));
        Self { json: json.ok(), location: None, shape: PhantomData }
    }
}

impl<T, const STATUS: u16> Answer<T, STATUS> {
    /// A document that is text already: messages travel as they were spelled.
    pub fn spelled(json: Vec<u8>) -> Self {
        Self { json: Some(json), location: None, shape: PhantomData }
    }

    /// With the path of what was made.
    pub fn at(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }
}

impl<T: Send, const STATUS: u16> IntoResponse for Answer<T, STATUS> {
    fn into_response(self) -> Response {
        let Some(json) = self.json else { return Problem::internal().into_response() };
        let status = StatusCode::from_u16(STATUS).unwrap_or_default();
        let mut response = Response::builder().status(status).content_type(JSON).body(json);
        if let Some(location) = self.location.and_then(|path| HeaderValue::try_from(path).ok()) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

impl<T: Type, const STATUS: u16> ApiResponse for Answer<T, STATUS> {
    fn meta() -> MetaResponses {
        let location = || MetaHeader {
            name: "Location".to_owned(),
            description: Some("The path of what was made.".to_owned()),
            required: true,
            deprecated: false,
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
        };
        let made = STATUS == CREATED;
        let response = MetaResponse {
            description: if made { "It has been made." } else { "Here it is." },
            status: Some(STATUS),
            status_range: None,
            content: vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }],
            headers: made.then(location).into_iter().collect(),
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into()
    }
}

impl ApiResponse for Done {
    fn meta() -> MetaResponses {
        let response = MetaResponse {
            description: "It is done.",
            status: Some(204),
            status_range: None,
            content: vec![],
            headers: vec![],
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(_: &mut Registry) {}
}

//! Bodies of requests: JSON read by its fields, so that an error names the field.

use super::problem::Problem;
use super::types::ChannelValue;
use crate::protocol::ChannelName;
use poem::{FromRequest, Request, RequestBody};
use poem_openapi::error::ContentTypeError;
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// A body as text, in the shape of `T`.
pub(super) struct JsonText<T> {
    /// The text of an object, or of what was sent instead of one.
    pub text: String,
    shape: PhantomData<T>,
}

/// The fields of an object, taken one by one.
#[derive(Debug)]
pub(super) struct Fields(BTreeMap<String, Box<RawValue>>);

impl<T> JsonText<T> {
    /// Its fields.
    pub fn fields(&self) -> Result<Fields, Problem> {
        let body = serde_json::from_str(&self.text);
        body.map(Fields).map_err(|error| Problem::body(format!("this is no JSON object: {error}")))
    }
}

impl Fields {
    /// A text of 1 to `most` characters.
    pub fn text(&mut self, field: &str, most: usize) -> Result<Option<String>, Problem> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let text: Option<String> = serde_json::from_str(value.get()).ok();
        match text.filter(|text| (1..=most).contains(&text.chars().count())) {
            Some(text) => Ok(Some(text)),
            None => {
                Err(Problem::field(field, format!("it must be a text of 1 to {most} characters")))
            }
        }
    }

    /// True or false; false if absent.
    pub fn flag(&mut self, field: &str) -> Result<bool, Problem> {
        let Some(value) = self.take(field) else { return Ok(false) };
        serde_json::from_str(value.get())
            .map_err(|_| Problem::field(field, "it must be true or false"))
    }

    /// True, if it is there at all: false would say that nobody is meant, and is refused.
    pub fn only_true(&mut self, field: &str) -> Result<bool, Problem> {
        let Some(value) = self.take(field) else { return Ok(false) };
        match value.get() {
            "true" => Ok(true),
            _ => Err(Problem::field(field, "it must be true, or not be there")),
        }
    }

    /// A channel.
    pub fn channel(&mut self, field: &str) -> Result<Option<ChannelName>, Problem> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let name = ChannelName::from_json(value.get(), usize::MAX);
        name.map(Some).map_err(|reason| Problem::field(field, super::problem::words(&reason)))
    }

    /// A text that `parse` reads; `allowed` says what it may be.
    pub fn parsed<T>(
        &mut self,
        field: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        allowed: &str,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let text: Option<String> = serde_json::from_str(value.get()).ok();
        text.and_then(|text| parse(&text)).map(Some).ok_or_else(|| Problem::field(field, allowed))
    }

    /// Refuses fields that nobody has taken: a word misspelt must not mean something else.
    pub fn finish(self) -> Result<(), Problem> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(field) => Err(Problem::field(field, "there is no such field")),
        }
    }

    fn take(&mut self, field: &str) -> Option<Box<RawValue>> {
        self.0.remove(field)
    }
}

impl<'a, T: Type> ApiExtractor<'a> for JsonText<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
        ChannelValue::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content_type = "application/json";
        let content = vec![MetaMediaType { content_type, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let content_type = request.content_type().ok_or(ContentTypeError::ExpectContentType)?;
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let json = essence.eq_ignore_ascii_case("application/json")
            || (essence.starts_with("application/") && essence.ends_with("+json"));
        if !json {
            let content_type = content_type.to_owned();
            return Err(ContentTypeError::NotSupported { content_type }.into());
        }
        // The guard has read it, and has bounded it.
        let bytes = <Vec<u8> as FromRequest>::from_request(request, body).await?;
        let text = String::from_utf8(bytes).map_err(|_| Problem::body("the body is not UTF-8"))?;
        Ok(Self { text, shape: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        let body = JsonText::<ChannelValue> { text: text.to_owned(), shape: PhantomData };
        body.fields().unwrap()
    }

    #[test]
    fn an_error_names_the_field() {
        let mut given = fields(r#"{"a":5,"b":"x","d":true,"e":"ééé"}"#);
        assert_eq!(given.text("a", 9).unwrap_err().errors[0].field, "a");
        assert_eq!(given.flag("b").unwrap_err().errors[0].field, "b");
        assert_eq!(given.text("absent", 9), Ok(None));
        assert_eq!(given.text("e", 3), Ok(Some("ééé".to_owned())));
        assert_eq!(given.finish().unwrap_err().errors[0].field, "d");
    }

    #[test]
    fn a_channel_is_typed_json() {
        let mut given = fields(r#"{"a":5.0,"b":"5","c":[1]}"#);
        assert_eq!(given.channel("a").unwrap().unwrap().as_json(), "5");
        assert_eq!(given.channel("b").unwrap().unwrap().as_json(), "\"5\"");
        assert_eq!(given.channel("c").unwrap_err().errors[0].field, "c");
    }
}

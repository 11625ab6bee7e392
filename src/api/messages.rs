//! `/messages`: what the owner has to say.
//!
//! The rules are the protocol's own, and values travel as they were spelled.

use super::answer::Answer;
use super::auth::Owner;
use super::body::JsonText;
use super::idempotency::Again;
use super::models::Sent;
use super::problem::{Code, Problem, failures};
use super::types::ChannelValue;
use super::{Shared, Tag};
use crate::hub::Published;
use crate::protocol::{RefusalReason, command};
use poem::http::StatusCode;
use poem_openapi::OpenApi;
use poem_openapi::param::Header;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use std::borrow::Cow;
use std::sync::Arc;

failures!(
    /// What may go wrong when a message is sent.
    SendFailure: 400, 403, 408, 413, 415, 422
);

/// A message to send: a channel, and whatever else is to travel.
struct MessageRequest;

impl Type for MessageRequest {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "MessageRequest".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::name().into_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(Self::name().into_owned(), |_| {
            let any = |description| {
                let schema = MetaSchema { description: Some(description), ..MetaSchema::ANY };
                MetaSchemaRef::Inline(Box::new(schema))
            };
            MetaSchema {
                description: Some(
                    "A message to send. Any other keys travel with it, but for `type`, `ID` and \
                     `time`, which are the server's own.",
                ),
                required: vec!["channel"],
                properties: vec![
                    ("channel", ChannelValue::schema_ref()),
                    ("message", any("What to say: any JSON. Numbers stay as they are spelled.")),
                ],
                additional_properties: Some(Box::new(any("Whatever else is to travel."))),
                ..MetaSchema::new("object")
            }
        });
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

/// The operations.
pub(super) struct Messages(pub Arc<Shared>);

#[OpenApi(tag = "Tag::Messages")]
impl Messages {
    /// Send a message
    ///
    /// To everybody who listens to the channel, in the same order as all other messages, and into
    /// the log. The rules and limits are those of the protocol. With an `Idempotency-Key` the same
    /// request may be repeated for ten minutes: it is answered the same and sends nothing again.
    #[oai(path = "/messages", method = "post", operation_id = "sendMessage")]
    async fn send(
        &self,
        _owner: Owner,
        /// A text of the caller's own choice that names this request.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        key: Header<Option<String>>,
        body: JsonText<MessageRequest>,
    ) -> Result<Answer<Sent, 201>, SendFailure> {
        let draft = command::parse_message(&body.text, self.0.command_limits())
            .map_err(|refusal| refused(&refusal.reason))?;
        let publish = || self.0.hub.publish(draft);
        let published = match key.0 {
            None => publish(),
            Some(key) => match self.0.remembered.once(key, &body.text, publish) {
                Ok(published) => published,
                Err(Again::OtherBody) => {
                    let detail = "this Idempotency-Key was used with another body";
                    let status = StatusCode::UNPROCESSABLE_ENTITY;
                    return Err(Problem::new(status, Code::KeyReused, detail).into());
                }
            },
        };
        let Published { event, reached } = published;
        let mut json = br#"{"message":"#.to_vec();
        json.extend_from_slice(event.frame.payload());
        json.extend_from_slice(format!(r#","received_by":{reached}}}"#).as_bytes());
        let location = format!("{}/log/{}", super::PREFIX, event.stamp.id);
        Ok(Answer::spelled(json).at(location))
    }
}

fn refused(reason: &RefusalReason) -> Problem {
    let words = super::problem::words(reason);
    match reason {
        RefusalReason::MessageSize { .. } => Problem::too_large(words),
        RefusalReason::ChannelType { .. }
        | RefusalReason::ChannelNotFinite
        | RefusalReason::ChannelName { .. } => Problem::field("channel", words),
        _ => Problem::body(words),
    }
}

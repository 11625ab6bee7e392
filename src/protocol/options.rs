//! What `open` may carry beside its channel: a wish to catch up, and how the connection's events
//! are to be sent.

use super::channel::kind_of;
use super::command::message_id;
use super::fields::Fields;
use super::refusal::RefusalReason;
use uuid::Uuid;

/// Most frames a second that a client may ask for.
pub const MAX_PACE: u16 = 1000;

/// What an `open` wants beside its channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Which logged messages are to be sent before the live ones.
    pub catch_up: Option<CatchUp>,
    /// Whether events are to be sent in batches from now on; none leaves it as it is.
    pub batch: Option<bool>,
    /// How many frames are to be sent a second from now on, any number for none; the outer none
    /// leaves it as it is.
    pub pace: Option<Option<u16>>,
}

/// Logged messages that a client wants to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// The newest, so many of them.
    Last(usize),
    /// Those after the message with this ID.
    Since(Uuid),
}

impl OpenOptions {
    /// Reads what is there; none if nothing is.
    ///
    /// # Errors
    /// A value is of the wrong kind or out of range, or `last` and `since` are both given.
    pub(super) fn read(fields: &Fields) -> Result<Option<Box<Self>>, RefusalReason> {
        let catch_up = catch_up(fields)?;
        let options = Self { catch_up, batch: batch(fields)?, pace: pace(fields)? };
        Ok((options != Self::default()).then(|| Box::new(options)))
    }
}

fn catch_up(fields: &Fields) -> Result<Option<CatchUp>, RefusalReason> {
    let since = message_id(fields, "\"since\"")?;
    let Some(last) = fields.given("\"last\"") else { return Ok(since.map(CatchUp::Since)) };
    if since.is_some() {
        return Err(RefusalReason::CatchUpTwice);
    }
    match number(last) {
        // A cast saturates and cuts toward zero, as for the indices of a log.
        Some(count) if count > -1.0 => Ok(Some(CatchUp::Last(count as usize))),
        _ => Err(RefusalReason::CatchUpLast { found: found(last) }),
    }
}

fn batch(fields: &Fields) -> Result<Option<bool>, RefusalReason> {
    match fields.get("\"batch\"") {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false" | "null") => Ok(Some(false)),
        Some(value) => Err(RefusalReason::Batch { found: found(value) }),
    }
}

fn pace(fields: &Fields) -> Result<Option<Option<u16>>, RefusalReason> {
    match fields.get("\"pace\"") {
        None => Ok(None),
        Some("null") => Ok(Some(None)),
        Some(value) => match number(value) {
            Some(pace) if (1.0..=f64::from(MAX_PACE)).contains(&pace) => {
                Ok(Some(Some(pace as u16)))
            }
            _ => Err(RefusalReason::Pace { found: found(value) }),
        },
    }
}

fn number(value: &str) -> Option<f64> {
    matches!(value.as_bytes().first(), Some(b'-' | b'0'..=b'9')).then(|| value.parse().ok())?
}

/// What a value that is not allowed is, in words.
fn found(value: &str) -> &'static str {
    match kind_of(value.bytes().next()) {
        "a number" => "another number",
        kind => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keys: &str) -> Result<Option<OpenOptions>, RefusalReason> {
        let text = format!("{{{keys}}}");
        let fields = Fields::parse(&text).expect("an object");
        OpenOptions::read(&fields).map(|options| options.map(|options| *options))
    }

    fn one(keys: &str) -> OpenOptions {
        read(keys).expect("they are allowed").expect("there are some")
    }

    #[test]
    fn without_any_of_the_keys_there_are_no_options() {
        assert_eq!(read(r#""type":"open","last":null,"since":null"#), Ok(None));
    }

    #[test]
    fn last_is_cut_toward_zero_and_saturates() {
        for (value, count) in [("0", 0), ("2.9", 2), ("-0.5", 0), ("1e300", usize::MAX)] {
            let options = one(&format!(r#""last":{value}"#));
            assert_eq!(options.catch_up, Some(CatchUp::Last(count)), "{value}");
        }
        for value in ["-1", "\"5\"", "true", "[]"] {
            let refused = read(&format!(r#""last":{value}"#));
            assert!(matches!(refused, Err(RefusalReason::CatchUpLast { .. })), "{value}");
        }
    }

    #[test]
    fn since_is_the_id_of_a_message_and_excludes_last() {
        let id = "01a209bc-c816-70f8-b351-bb0681c57745";
        let since = Some(CatchUp::Since(Uuid::try_parse(id).unwrap()));
        assert_eq!(one(&format!(r#""since":"{id}""#)).catch_up, since);
        assert!(matches!(read(r#""since":"x""#), Err(RefusalReason::MessageId { .. })));
        let both = read(&format!(r#""since":"{id}","last":0"#));
        assert_eq!(both, Err(RefusalReason::CatchUpTwice));
    }

    #[test]
    fn batch_and_pace_are_set_ended_or_left_alone() {
        assert_eq!(one(r#""batch":true"#).batch, Some(true));
        assert_eq!(one(r#""batch":null"#).batch, Some(false));
        assert_eq!(one(r#""pace":1000"#).pace, Some(Some(1000)));
        assert_eq!(
            one(r#""pace":null"#),
            OpenOptions { pace: Some(None), ..one(r#""pace":null"#) }
        );
        for wrong in ["\"pace\":0", "\"pace\":1001", "\"pace\":\"5\"", "\"pace\":false"] {
            assert!(matches!(read(wrong), Err(RefusalReason::Pace { .. })), "{wrong}");
        }
        assert!(matches!(read("\"batch\":1"), Err(RefusalReason::Batch { .. })));
    }
}

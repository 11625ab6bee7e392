//! The forms in which clients of each version are sent things.
//!
//! A client begins with the first version and goes over to the second for good when it sends CBOR.

use super::clients::ClientKey;
use super::state::State;
use crate::protocol::cbor::{self, Source};
use crate::protocol::{Event, Frame, Version};

/// An event in the encodings of its listeners. The JSON is there in any case, since the log keeps
/// it; the CBOR is written when the first listener is to get it, and lives as long as the delivery.
pub(super) struct Forms<'a> {
    event: &'a Event,
    /// What the sender wrote, if it wrote CBOR.
    source: Option<Source>,
    max_bytes: usize,
    cbor: Option<(Frame, bool)>,
}

/// The event for one listener.
pub(super) struct Form<'a> {
    pub frame: &'a Frame,
    /// False for the error that stands in for an event that is too large in this encoding.
    pub is_event: bool,
}

impl<'a> Forms<'a> {
    /// The forms of `event`, of at most `max_bytes`.
    pub fn new(event: &'a Event, source: Option<Source>, max_bytes: usize) -> Self {
        Self { event, source, max_bytes, cbor: None }
    }

    /// The event for a listener of this version.
    pub fn of(&mut self, version: Version) -> Form<'_> {
        if version == Version::V1 {
            return Form { frame: &self.event.frame, is_event: true };
        }
        let (event, source, max_bytes) = (self.event, self.source.as_ref(), self.max_bytes);
        let (frame, is_event) =
            self.cbor.get_or_insert_with(|| match cbor::event_frame(event, source, max_bytes) {
                Ok(frame) => (frame, true),
                Err(size) => (cbor::too_large(event.stamp, size), false),
            });
        Form { frame, is_event: *is_event }
    }
}

impl State {
    /// Speaks the second version with a client from now on. Its channels stay open, and what is
    /// queued keeps its form and place; batches and paces are of the first version and end.
    pub fn speak_cbor(&mut self, key: ClientKey) {
        let Some(client) = self.client(key) else { return };
        client.version = Version::V2;
        self.end_flow(key.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelName, Draft, Stamper};

    #[test]
    fn an_event_is_written_in_cbor_once_and_only_when_somebody_is_to_get_it() {
        let event = Draft::new(ChannelName::from_text("x"), 0).stamp(Stamper::new(1).next(1));
        let mut forms = Forms::new(&event, None, 1000);
        assert_eq!(forms.of(Version::V1).frame.wire(), event.frame.wire());
        assert!(forms.cbor.is_none());
        let first = forms.of(Version::V2).frame.wire().as_ptr();
        assert_eq!(forms.of(Version::V2).frame.wire().as_ptr(), first);
    }
}

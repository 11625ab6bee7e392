//! Fuzzing of what the owner's API reads.
//!
//! - `query`: paths and queries; `body`: bodies; `world`: the API that both ask.

mod body;
mod query;
mod world;

pub use body::body;
pub use query::query;

use super::channel_param::ChannelParam;
use super::paging::{Listing, Order};
use crate::protocol::ChannelName;

/// Reads a text as a channel in a path, and as the cursor of a list: what is taken is a name that
/// says itself, and a number is one however it is spelled.
///
/// # Panics
/// That does not hold.
pub fn channel(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Whether a cursor is taken or not, it must do no harm.
    let _ = Listing::<ChannelName>::new("name", Order::Asc, 10, Some(text));
    let _ = Listing::<u64>::new("id", Order::Desc, 10, Some(text));
    let Ok(ChannelParam(name)) = ChannelParam::parse(text) else { return };
    let spelled = name.as_json();
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) if value.is_number() && !text.contains(char::is_whitespace) => {
            let number: f64 = spelled.parse().expect("a number's name is a number");
            assert_eq!(Ok(number), text.parse());
        }
        _ => assert!(name.text_bytes().is_some(), "{text:?} is a text, not {spelled}"),
    }
    assert_eq!(ChannelName::from_json(spelled, usize::MAX).as_ref(), Ok(&name), "canonical");
    if let Ok(again) = ChannelParam::parse(spelled) {
        assert_eq!(again.0, name);
    }
}

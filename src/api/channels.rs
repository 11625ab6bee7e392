//! `/channels`: who listens to what.

use super::answer::Answer;
use super::auth::Reader;
use super::channel_param::ChannelParam;
use super::clients::{ClientFilter, ClientSort, open_clients};
use super::models::{Channel, ChannelPage, ClientPage};
use super::paging::{Listing, MAX_CURSOR, Order, Place, default_limit};
use super::problem::{Problem, failures};
use super::{Shared, Tag};
use crate::hub::ChannelView;
use crate::protocol::ChannelName;
use poem_openapi::param::{Path, Query};
use poem_openapi::{Enum, OpenApi};
use std::sync::Arc;

failures!(
    /// What may go wrong with a list.
    ListFailure: 400
);
failures!(
    /// What may go wrong with one channel.
    ChannelFailure: 400, 404
);

/// By what channels are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ChannelSort {
    /// By name, as JSON spells it.
    #[default]
    Name,
    /// By the number of listeners.
    Listeners,
    /// By the number of messages.
    Messages,
    /// By the time of the last message.
    LastActivity,
}

impl ChannelSort {
    fn label(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Listeners => "listeners",
            Self::Messages => "messages",
            Self::LastActivity => "last_activity",
        }
    }

    fn value(self, channel: &ChannelView) -> u64 {
        match self {
            Self::Name => 0,
            Self::Listeners => channel.listeners() as u64,
            Self::Messages => channel.messages(),
            Self::LastActivity => channel.last_activity_ms(),
        }
    }
}

/// The operations.
pub(super) struct Channels(pub Arc<Shared>);

#[OpenApi(tag = "Tag::Channels")]
impl Channels {
    /// List channels
    ///
    /// A channel is listed while somebody listens to it or the log holds messages of it.
    #[oai(path = "/channels", method = "get", operation_id = "listChannels")]
    #[allow(clippy::too_many_arguments)] // One for each parameter of the query.
    async fn list(
        &self,
        _reader: Reader,
        /// Only channels whose name begins with this text; of a number, its digits.
        #[oai(validator(max_length = 1024))]
        prefix: Query<Option<String>>,
        /// Only channels whose name contains this text; the case of ASCII letters does not count.
        #[oai(validator(max_length = 1024))]
        q: Query<Option<String>>,
        /// Only channels with so many listeners or more.
        #[oai(default, validator(minimum(value = "0"), maximum(value = "4294967295")))]
        min_listeners: Query<u32>,
        /// By what they are sorted.
        #[oai(default)]
        sort: Query<ChannelSort>,
        /// In which direction.
        #[oai(default)]
        order: Query<Order>,
        /// Most channels of a page.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<usize>,
        /// The page after that of an answer: its `next`.
        #[oai(validator(max_length = 4096))]
        cursor: Query<Option<String>>,
    ) -> Result<Answer<ChannelPage>, ListFailure> {
        let sort = sort.0;
        let listing = Listing::new(sort.label(), order.0, limit.0, cursor.as_deref())?;
        let mut page = listing.page::<Channel>();
        let wanted = q.0.map(|text| text.to_ascii_lowercase());
        let mut from = Some(0);
        while let Some(place) = from {
            from = self.0.hub.visit_channels(place, |view| {
                let name = plain(view.name());
                let found = view.listeners() >= min_listeners.0 as usize
                    && prefix.0.as_ref().is_none_or(|prefix| name.starts_with(prefix.as_str()))
                    && wanted.as_ref().is_none_or(|q| name.to_ascii_lowercase().contains(q));
                if found {
                    let place = Place(sort.value(&view), view.name().clone());
                    page.offer(place, || Channel::new(view));
                }
            });
            tokio::task::yield_now().await;
        }
        let (channels, total, next) = page.finish();
        Ok(Answer::of(&ChannelPage { channels, total, next }))
    }

    /// See a channel
    ///
    /// What reads as a JSON number is the number, what reads as a JSON string is that string,
    /// anything else is the string as it stands: `5`, `"5"`, `chat`.
    #[oai(path = "/channels/:channel", method = "get", operation_id = "getChannel")]
    async fn get(
        &self,
        _reader: Reader,
        /// The channel.
        channel: Path<ChannelParam>,
    ) -> Result<Answer<Channel>, ChannelFailure> {
        let name = channel.0.0;
        let seen = self.0.hub.see_channel(&name, Channel::new);
        Ok(Answer::of(&seen.ok_or_else(|| no_such_channel(&name))?))
    }

    /// List a channel's listeners
    ///
    /// The clients that have the channel itself open; those that listen to everything by `*` are
    /// listeners of `*`.
    #[oai(path = "/channels/:channel/listeners", method = "get", operation_id = "listListeners")]
    async fn listeners(
        &self,
        _reader: Reader,
        /// The channel.
        channel: Path<ChannelParam>,
        /// Most clients of a page.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<usize>,
        /// The page after that of an answer: its `next`.
        #[oai(validator(max_length = 4096))]
        cursor: Query<Option<String>>,
    ) -> Result<Answer<ClientPage>, ChannelFailure> {
        let name = channel.0.0;
        if self.0.hub.see_channel(&name, |_| ()).is_none() {
            return Err(no_such_channel(&name).into());
        }
        let filter = ClientFilter { channel: Some(name), ..ClientFilter::default() };
        let sort = ClientSort::ConnectedAt;
        let listing = Listing::new("listener", Order::Asc, limit.0, cursor.as_deref())?;
        Ok(Answer::of(&open_clients(&self.0.hub, &filter, sort, listing).await))
    }
}

const _: () = assert!(MAX_CURSOR == 4096, "the bound in the documentation of the parameters");

fn no_such_channel(name: &ChannelName) -> Problem {
    Problem::not_found(format!(
        "nobody listens to {}, and the log has nothing of it",
        name.as_json()
    ))
}

/// A channel's name as people type it: a text without its quotes.
fn plain(name: &ChannelName) -> &str {
    let json = name.as_json();
    json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json)
}

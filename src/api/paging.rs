//! Long lists, page by page.
//!
//! A page is the first few of all entries in some order, found by going through all of them with
//! only those few kept. The next page begins after the last entry of this one, which a cursor
//! names; so entries that come and go in between shift nothing.

use super::problem::Problem;
use crate::protocol::ChannelName;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use poem_openapi::Enum;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Most characters of a cursor.
pub(super) const MAX_CURSOR: usize = 4096;

/// Entries of a page, unless asked for otherwise.
pub(super) fn default_limit() -> usize {
    100
}

/// In which direction a list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[oai(rename_all = "snake_case")]
pub enum Order {
    /// The smallest first.
    #[default]
    Asc,
    /// The largest first.
    Desc,
}

/// What makes the place of an entry its own among those with the same value.
pub(super) trait Tie: Ord + Clone {
    fn to_text(&self) -> String;
    fn from_text(text: &str) -> Option<Self>;
}

impl Tie for ChannelName {
    fn to_text(&self) -> String {
        self.as_json().to_owned()
    }

    fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
        Self::from_json(text, MAX_CURSOR).ok()
    }
}

impl Tie for u64 {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// Where an entry stands: by its value, then by what is its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<K>(pub u64, pub K);

/// What a list is sorted by, and where a page of it begins.
#[derive(Debug, Clone)]
pub(super) struct Listing<K> {
    /// The name of the order, which a cursor must have been made for.
    sort: &'static str,
    order: Order,
    limit: usize,
    after: Option<Place<K>>,
}

/// What a cursor holds.
#[derive(Serialize, Deserialize)]
struct Cursor(String, bool, u64, String);

impl<K: Tie> Listing<K> {
    /// A page of at most `limit` entries, after the one that `cursor` names.
    pub fn new(
        sort: &'static str,
        order: Order,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Self, Problem> {
        let after = cursor.map(|cursor| {
            let Cursor(of, descending, value, tie) = Cursor::parse(cursor)?;
            let same = of == sort && descending == (order == Order::Desc);
            Some(Place(value, K::from_text(&tie).filter(|_| same)?))
        });
        let after = match after {
            Some(None) => {
                let detail = "it must be what an answer with the same sort and order gave as next";
                return Err(Problem::parameter("cursor", detail));
            }
            Some(place) => place,
            None => None,
        };
        Ok(Self { sort, order, limit, after })
    }

    /// The page, of which nothing has been seen yet.
    pub fn page<T>(self) -> Page<K, T> {
        Page { listing: self, kept: BinaryHeap::new(), total: 0, more: false }
    }
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }
}

/// A page as far as it is known.
#[derive(Debug)]
pub(super) struct Page<K, T> {
    listing: Listing<K>,
    kept: BinaryHeap<Ranked<K, T>>,
    total: u64,
    more: bool,
}

impl<K: Tie, T> Page<K, T> {
    /// Takes note of an entry; keeps it if it is among the first.
    pub fn offer(&mut self, place: Place<K>, item: impl FnOnce() -> T) {
        self.total += 1;
        let descending = self.listing.order == Order::Desc;
        let rank = Rank { place, descending };
        if let Some(after) = &self.listing.after
            && compare(&rank.place, after, descending).is_le()
        {
            return;
        }
        if self.kept.len() == self.listing.limit {
            self.more = true;
            if self.kept.peek().is_some_and(|last| last.rank <= rank) {
                return;
            }
            self.kept.pop();
        }
        self.kept.push(Ranked { rank, item: item() });
    }

    /// The entries, how many there are on all pages together, and the cursor of the next page.
    pub fn finish(self) -> (Vec<T>, u64, Option<String>) {
        let sorted = self.kept.into_sorted_vec();
        let next = sorted.last().filter(|_| self.more).map(|last| {
            let Place(value, tie) = &last.rank.place;
            let listing = &self.listing;
            let descending = listing.order == Order::Desc;
            let cursor = Cursor(listing.sort.to_owned(), descending, *value, tie.to_text());
            // Texts and numbers alone: this cannot fail.
            BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
        });
        (sorted.into_iter().map(|ranked| ranked.item).collect(), self.total, next)
    }
}

fn compare<K: Ord>(a: &Place<K>, b: &Place<K>, descending: bool) -> Ordering {
    if descending { b.cmp(a) } else { a.cmp(b) }
}

#[derive(Debug, PartialEq, Eq)]
struct Rank<K> {
    place: Place<K>,
    descending: bool,
}

impl<K: Ord> Ord for Rank<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.place, &other.place, self.descending)
    }
}

impl<K: Ord> PartialOrd for Rank<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug)]
struct Ranked<K, T> {
    rank: Rank<K>,
    item: T,
}

impl<K: Ord, T> PartialEq for Ranked<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord, T> Eq for Ranked<K, T> {}

impl<K: Ord, T> Ord for Ranked<K, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl<K: Ord, T> PartialOrd for Ranked<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed(values: &[u64], order: Order, limit: usize) -> Vec<(u64, u64)> {
        let (mut all, mut cursor) = (vec![], None);
        loop {
            let listing = Listing::new("value", order, limit, cursor.as_deref()).unwrap();
            let mut page = listing.page();
            for (index, &value) in values.iter().enumerate() {
                page.offer(Place(value, index as u64), || (value, index as u64));
            }
            let (items, total, next) = page.finish();
            assert_eq!(total, values.len() as u64);
            assert!(items.len() <= limit);
            all.extend(items);
            match next {
                Some(next) => cursor = Some(next),
                None => return all,
            }
        }
    }

    proptest! {
        #[test]
        fn pages_together_are_the_sorted_list(
            values in proptest::collection::vec(0_u64..9, 0..60),
            limit in 1_usize..9,
            descending: bool,
        ) {
            let numbered = values.iter().copied().zip(0_u64..);
            let mut sorted: Vec<(u64, u64)> = numbered.collect();
            sorted.sort_unstable();
            if descending {
                sorted.reverse();
            }
            let order = if descending { Order::Desc } else { Order::Asc };
            prop_assert_eq!(listed(&values, order, limit), sorted);
        }

        #[test]
        fn no_cursor_whatever_panics(text: String) {
            let _ = Listing::<ChannelName>::new("name", Order::Asc, 1, Some(&text));
        }
    }

    #[test]
    fn what_comes_and_goes_between_two_pages_shifts_nothing() {
        let page = |values: &[u64], cursor: Option<&str>| {
            let mut page = Listing::new("value", Order::Asc, 2, cursor).unwrap().page();
            for &value in values {
                page.offer(Place(value, value), || value);
            }
            page.finish()
        };
        let (first, _, next) = page(&[10, 20, 30, 40], None);
        assert_eq!(first, [10, 20]);
        let (second, _, next) = page(&[5, 15, 30, 40], next.as_deref());
        assert_eq!((second, next), (vec![30, 40], None));
    }

    #[test]
    fn a_cursor_serves_the_order_that_it_was_made_for() {
        let mut page = Listing::new("value", Order::Asc, 1, None).unwrap().page();
        page.offer(Place(1, 1_u64), || ());
        page.offer(Place(2, 2), || ());
        let cursor = page.finish().2.unwrap();
        let listing = |sort, order| Listing::<u64>::new(sort, order, 1, Some(&cursor));
        assert!(listing("value", Order::Asc).is_ok());
        assert!(listing("value", Order::Desc).is_err());
        assert_eq!(listing("other", Order::Asc).unwrap_err().errors[0].field, "cursor");
    }
}

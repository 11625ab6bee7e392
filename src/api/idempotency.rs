//! Requests that may be repeated: what was sent under a key is not sent again.

use crate::hub::Published;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most keys that are remembered.
const MAX_KEYS: usize = 1000;

/// Most bytes of messages that are remembered with them.
const MAX_BYTES: usize = 16 << 20;

/// How long a key is remembered.
const MEMORY: Duration = Duration::from_secs(600);

/// What was sent under which key; the oldest go first.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// Seeded at random, so that nobody can make two bodies that are taken for the same.
    hasher: RandomState,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_key: HashMap<String, Entry>,
    /// Keys by age, oldest first.
    by_age: VecDeque<String>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    body: u64,
    at: Instant,
    published: Published,
}

/// Why a repeated request cannot be answered as before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It had another body.
    OtherBody,
}

impl Remembered {
    /// Publishes under a key, once: the same request gets the same answer.
    pub fn once(
        &self,
        key: String,
        body: &str,
        publish: impl FnOnce() -> Published,
    ) -> Result<Published, Again> {
        self.once_at(Instant::now(), key, body, publish)
    }

    fn once_at(
        &self,
        now: Instant,
        key: String,
        body: &str,
        publish: impl FnOnce() -> Published,
    ) -> Result<Published, Again> {
        let body = self.hasher.hash_one(body);
        // Held while publishing, which does not wait, so that of two at once one publishes.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget(|entry| now.saturating_duration_since(entry.at) >= MEMORY);
        if let Some(known) = kept.by_key.get(&key) {
            let same = known.body == body;
            return if same { Ok(known.published.clone()) } else { Err(Again::OtherBody) };
        }
        let published = publish();
        kept.bytes += published.event.frame.payload().len();
        kept.by_age.push_back(key.clone());
        kept.by_key.insert(key, Entry { body, at: now, published: published.clone() });
        while kept.by_age.len() > MAX_KEYS || kept.bytes > MAX_BYTES {
            let mut one = true;
            kept.forget(|_| std::mem::take(&mut one));
        }
        Ok(published)
    }
}

impl Kept {
    /// Forgets from the oldest on, as long as `is_due` says so.
    fn forget(&mut self, mut is_due: impl FnMut(&Entry) -> bool) {
        while let Some(key) = self.by_age.front()
            && self.by_key.get(key).is_none_or(&mut is_due)
        {
            if let Some(entry) = self.by_key.remove(key) {
                self.bytes -= entry.published.event.frame.payload().len();
            }
            self.by_age.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelName, Draft, Stamper};
    use std::cell::Cell;

    fn published(number: usize) -> Published {
        let stamp = Stamper::new(1).next(1_700_000_000_000);
        let mut draft = Draft::new(ChannelName::from_text("doors"), 0);
        draft.push("\"message\"", &number.to_string());
        Published { event: draft.stamp(stamp), reached: number }
    }

    #[test]
    fn a_key_publishes_once_and_answers_the_same_until_it_is_forgotten() {
        let (remembered, sent, now) = (Remembered::default(), Cell::new(0), Instant::now());
        let once = |at, key: &str, body| {
            let publish = || {
                sent.set(sent.get() + 1);
                published(sent.get())
            };
            remembered.once_at(at, key.to_owned(), body, publish).map(|sent| sent.reached)
        };
        assert_eq!(once(now, "a", "x"), Ok(1));
        assert_eq!(once(now, "a", "x"), Ok(1));
        assert_eq!(once(now, "a", "y"), Err(Again::OtherBody));
        assert_eq!(once(now, "b", "y"), Ok(2));
        assert_eq!(once(now + MEMORY, "a", "y"), Ok(3));
    }

    #[test]
    fn only_so_many_keys_are_remembered() {
        let (remembered, now) = (Remembered::default(), Instant::now());
        for number in 0..MAX_KEYS + 1 {
            let key = number.to_string();
            remembered.once_at(now, key, "", || published(number)).unwrap();
        }
        let again = |key: &str| remembered.once_at(now, key.to_owned(), "", || published(9999));
        assert_eq!(again("1").unwrap().reached, 1);
        assert_eq!(again("0").unwrap().reached, 9999);
        let kept = remembered.kept.lock().unwrap();
        let bytes: usize =
            kept.by_key.values().map(|entry| entry.published.event.frame.payload().len()).sum();
        assert_eq!((kept.by_age.len(), kept.by_key.len(), kept.bytes), (MAX_KEYS, MAX_KEYS, bytes));
    }
}

//! Which channels a list of patterns means.
//!
//! Pure: patterns go in, and a channel is in the list or not. The time that takes is linear in the
//! length of the channel's name for each pattern with a `*`, and the same for all others together.
//! Where lists come from, how long they may be and what they allow is for others to say.

use crate::protocol::ChannelName;
use memchr::memmem::Finder;
use std::collections::HashSet;

/// A list of patterns. The empty one means no channel.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    /// The patterns as they were added, each as JSON.
    shown: Vec<Box<str>>,
    /// Whether one of them means every channel.
    every: bool,
    exact: HashSet<ChannelName>,
    ranges: Vec<(f64, f64)>,
    wild: Vec<Wild>,
}

impl Patterns {
    /// The list that means every channel.
    pub fn every() -> Self {
        let mut patterns = Self::default();
        patterns.add_text("*");
        patterns
    }

    /// Adds the text channel of this name, or, where it holds `*`, all text channels whose name is
    /// the pattern with any characters, or none, in the place of each `*`. `*` alone means every
    /// channel: texts, numbers and the channel `*` itself.
    pub fn add_text(&mut self, pattern: &str) {
        let name = ChannelName::from_text(pattern);
        self.shown.push(name.as_json().into());
        if !pattern.contains('*') {
            self.exact.insert(name);
        } else if pattern.bytes().all(|byte| byte == b'*') {
            self.every = true;
        } else {
            self.wild.push(Wild::new(pattern));
        }
    }

    /// Adds the number channel `number`. One that is not finite is no channel's name and adds
    /// nothing.
    pub fn add_number(&mut self, number: f64) {
        if let Some(name) = ChannelName::from_number(number) {
            self.shown.push(name.as_json().into());
            self.exact.insert(name);
        }
    }

    /// Adds the number channels from `first` to `last`, both included and fractions too. A range
    /// whose ends are not finite adds nothing.
    pub fn add_range(&mut self, first: f64, last: f64) {
        let ends = ChannelName::from_number(first).zip(ChannelName::from_number(last));
        if let Some((from, to)) = ends {
            self.shown.push(format!("[{},{}]", from.as_json(), to.as_json()).into());
            self.ranges.push((first, last));
        }
    }

    /// Whether the list means every channel.
    pub fn is_every(&self) -> bool {
        self.every
    }

    /// Whether the list means this channel.
    pub fn contains(&self, name: &ChannelName) -> bool {
        if self.every || self.exact.contains(name) {
            return true;
        }
        match name.text_bytes() {
            Some(text) => self.wild.iter().any(|wild| wild.matches(&text)),
            None => self.has_in_range(name),
        }
    }

    /// The patterns as they were added, each as JSON: a text, a number, or the two ends of a range.
    pub fn as_json(&self) -> impl Iterator<Item = &str> {
        self.shown.iter().map(|pattern| &**pattern)
    }

    fn has_in_range(&self, name: &ChannelName) -> bool {
        let number = name.as_json().parse::<f64>();
        number.is_ok_and(|n| self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&n)))
    }
}

/// A text with `*` in it, taken apart.
#[derive(Debug, Clone)]
struct Wild {
    /// What stands before the first `*`.
    first: Box<[u8]>,
    /// What stands between two of them, in order; each is taken where it first fits.
    between: Vec<Finder<'static>>,
    /// What stands behind the last.
    last: Box<[u8]>,
}

impl Wild {
    /// Takes apart a pattern that holds `*` at least once.
    fn new(pattern: &str) -> Self {
        let (first, rest) = pattern.split_once('*').unwrap_or((pattern, ""));
        let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let pieces = between.split('*').filter(|piece| !piece.is_empty());
        Self {
            first: first.as_bytes().into(),
            between: pieces.map(|piece| Finder::new(piece).into_owned()).collect(),
            last: last.as_bytes().into(),
        }
    }

    fn matches(&self, text: &[u8]) -> bool {
        let rest = text.strip_prefix(&*self.first);
        let Some(mut rest) = rest.and_then(|rest| rest.strip_suffix(&*self.last)) else {
            return false;
        };
        // Nobody does better than the first place where a piece fits: it leaves most to the others.
        for piece in &self.between {
            let Some(at) = piece.find(rest) else { return false };
            rest = &rest[at + piece.needle().len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn texts(patterns: &[&str]) -> Patterns {
        let mut list = Patterns::default();
        patterns.iter().for_each(|pattern| list.add_text(pattern));
        list
    }

    fn name(json: &str) -> ChannelName {
        ChannelName::from_json(json, usize::MAX).expect("a channel")
    }

    #[test]
    fn a_pattern_without_a_star_is_one_channel() {
        let list = texts(&["base", "5", ""]);
        for json in [r#""base""#, r#""b\u0061se""#, r#""5""#, r#""""#] {
            assert!(list.contains(&name(json)), "{json}");
        }
        for json in [r#""Base""#, r#""base ""#, r#""bas""#, "5", r#""*""#] {
            assert!(!list.contains(&name(json)), "{json}");
        }
    }

    #[test]
    fn a_star_stands_for_any_characters_or_none() {
        let list = texts(&["base.*", "*.public", "a*b*c"]);
        for text in ["base.", "base.door", "x.public", ".public", "abc", "aXbYc", "abbc", "abcbc"] {
            assert!(list.contains(&ChannelName::from_text(text)), "{text}");
        }
        for text in ["base", "xbase.", "public", "x.publicx", "ab", "acb", "abcd", "*", "bc"] {
            assert!(!list.contains(&ChannelName::from_text(text)), "{text}");
        }
        assert!(!texts(&["aa*aa"]).contains(&ChannelName::from_text("aaa")), "no overlap");
        assert!(!texts(&["1*"]).contains(&name("12")), "a number is no text");
    }

    #[test]
    fn stars_alone_are_every_channel() {
        for list in [texts(&["*"]), texts(&["**"]), Patterns::every()] {
            assert!(list.is_every());
            for json in ["5", r#""x""#, r#""*""#, r#""\ud800""#] {
                assert!(list.contains(&name(json)), "{json}");
            }
        }
        assert!(!Patterns::default().contains(&name("5")));
    }

    #[test]
    fn a_number_is_the_number_however_it_is_spelled_and_a_range_holds_its_ends() {
        let mut list = Patterns::default();
        list.add_number(5.0);
        list.add_number(-0.0);
        list.add_range(100.0, 199.5);
        for json in ["5", "5e0", "0", "-0", "100", "150.25", "199.5"] {
            assert!(list.contains(&name(json)), "{json}");
        }
        for json in ["6", r#""5""#, "99.9", "200", "-5", r#""150""#] {
            assert!(!list.contains(&name(json)), "{json}");
        }
        list.add_number(f64::NAN);
        list.add_range(f64::NEG_INFINITY, f64::INFINITY);
        assert!(!list.contains(&name("6")));
        assert_eq!(list.as_json().collect::<Vec<_>>(), ["5", "0", "[100,199.5]"]);
    }

    /// The canonical spelling of a line break ends with an `n`, that of a quote with a quote.
    #[test]
    fn a_pattern_meets_what_a_name_says_and_not_how_it_is_spelled() {
        assert!(!texts(&["*n", "*000a", "*\\*"]).contains(&name(r#""a\n""#)));
        assert!(texts(&["*\n"]).contains(&name(r#""a\n""#)));
        assert!(texts(&["a\"*"]).contains(&name(r#""a\"b""#)));
        assert!(texts(&["a*\u{0}"]).contains(&name(r#""ab\u0000""#)));
        assert!(texts(&["a*"]).contains(&name(r#""a\ud800""#)));
        assert!(!texts(&["*\u{fffd}", "*0"]).contains(&name(r#""a\ud800""#)));
    }

    #[test]
    fn what_was_added_is_shown_as_json() {
        let list = texts(&["a\"*", "b"]);
        assert_eq!(list.as_json().collect::<Vec<_>>(), [r#""a\"*""#, r#""b""#]);
    }

    /// A search that went back over what it had tried would take longer than anybody lives.
    #[test]
    fn a_hundred_patterns_full_of_stars_are_answered_promptly() {
        let mut list = Patterns::default();
        for n in 0..100 {
            list.add_text(&format!("{}{n}", "*a".repeat(100)));
        }
        let name = ChannelName::from_text(&"a".repeat(255));
        let begun = Instant::now();
        assert!(!list.contains(&name));
        list.add_text(&"*a".repeat(100));
        assert!(list.contains(&name));
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }

    /// The definition, word for word.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|taken| naive(rest, &text[taken..])),
            ([wanted, pattern @ ..], [found, text @ ..]) => wanted == found && naive(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_list_means_what_one_of_its_patterns_means(
            patterns in proptest::collection::vec("[ab*é\"\\n]{0,7}", 0..4),
            names in proptest::collection::vec("[ab*é\"\\n]{0,9}", 1..8),
        ) {
            let list = texts(&patterns.iter().map(String::as_str).collect::<Vec<_>>());
            for name in names {
                let text: Vec<char> = name.chars().collect();
                let expected = patterns.iter().any(|pattern| {
                    naive(&pattern.chars().collect::<Vec<_>>(), &text)
                });
                prop_assert_eq!(list.contains(&ChannelName::from_text(&name)), expected, "{:?}", name);
            }
        }
    }
}

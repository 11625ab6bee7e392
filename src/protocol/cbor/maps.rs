//! Entries of a map that a later one overrides.
//!
//! A map is written entry by entry as it is read. When its end shows that keys came twice, what
//! stands written is not moved: the ranges to leave out are noted, and left out when the whole is
//! copied, so that maps within maps cost no more than one copy.

use std::collections::HashSet;
use std::ops::Range;

/// An entry of a map that stands in a buffer.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Where it begins.
    pub start: usize,
    /// Where its key ends.
    pub key_end: usize,
}

/// Most entries that are compared each with each.
const SEARCHED: usize = 16;

/// Adds to `removed` all of a map's entries whose key comes again later in the map; an entry
/// reaches to the beginning of the next. Returns how many are left.
pub fn override_earlier(
    buffer: &[u8],
    entries: &[Entry],
    removed: &mut Vec<Range<usize>>,
) -> usize {
    let key = |entry: &Entry| &buffer[entry.start..entry.key_end];
    let before = removed.len();
    let mut remove = |index: usize| removed.push(entries[index].start..entries[index + 1].start);
    if entries.len() <= SEARCHED {
        for (index, entry) in entries.iter().enumerate() {
            if entries[index + 1..].iter().any(|later| key(later) == key(entry)) {
                remove(index);
            }
        }
    } else {
        let mut later = HashSet::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate().rev() {
            if !later.insert(key(entry)) {
                remove(index);
            }
        }
    }
    entries.len() - (removed.len() - before)
}

/// The ranges of `whole` outside of `removed`, in order. Ranges removed may lie within others, but
/// do not overlap otherwise.
pub fn kept(whole: Range<usize>, mut removed: Vec<Range<usize>>) -> Vec<Range<usize>> {
    removed.sort_unstable_by_key(|range| range.start);
    let mut kept = Vec::with_capacity(removed.len() + 1);
    let mut at = whole.start;
    for range in removed {
        if range.start > at {
            kept.push(at..range.start);
        }
        at = at.max(range.end);
    }
    kept.push(at..whole.end);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_keys_is_left_in_few_entries_and_in_many() {
        for count in [3, 16, 17, 100] {
            // Keys of one byte, values of one byte: 0, 1, 2, 0, 1, 2, …
            let buffer: Vec<u8> = (0..count).flat_map(|n| [n as u8 % 3, n as u8]).collect();
            let entries: Vec<Entry> =
                (0..count).map(|n| Entry { start: 2 * n, key_end: 2 * n + 1 }).collect();
            let mut removed = Vec::new();
            assert_eq!(override_earlier(&buffer, &entries, &mut removed), 3);
            let left = kept(0..buffer.len(), removed);
            let left: Vec<u8> = left.into_iter().flat_map(|range| buffer[range].to_vec()).collect();
            assert_eq!(left, buffer[buffer.len() - 6..]);
        }
    }

    #[test]
    fn ranges_within_ranges_are_left_out_once() {
        assert_eq!(kept(0..10, vec![3..4, 2..6, 8..9]), [0..2, 6..8, 9..10]);
        assert_eq!(kept(5..12, vec![5..6, 8..9]), [6..8, 9..12]);
        assert_eq!(kept(0..3, vec![]).first(), Some(&(0..3)));
    }
}

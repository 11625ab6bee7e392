//! Counts of values by size, kept as plain integers.
//!
//! What Prometheus calls a histogram, without an atomic or a lock: whoever counts holds the hub's
//! lock already. Knows nothing of names or labels.

/// How many values were at most so large, for `N` edges, and the sum of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally<const N: usize> {
    edges: &'static [u64; N],
    counts: [u64; N],
    /// Values beyond the last edge.
    beyond: u64,
    sum: u64,
}

impl<const N: usize> Tally<N> {
    /// No values yet. `edges` grow.
    pub const fn new(edges: &'static [u64; N]) -> Self {
        Self { edges, counts: [0; N], beyond: 0, sum: 0 }
    }

    /// Counts a value.
    pub fn observe(&mut self, value: u64) {
        let place = self.edges.partition_point(|&edge| edge < value);
        *self.counts.get_mut(place).unwrap_or(&mut self.beyond) += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.beyond
    }

    /// Each edge, with how many values were at most so large.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.edges.iter().zip(&self.counts).scan(0, |below, (&edge, &count)| {
            *below += count;
            Some((edge, *below))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_up_to_its_edge_and_beyond_the_last_in_the_sum_alone() {
        let mut tally = Tally::new(&[0, 10, 100]);
        for value in [0, 1, 10, 11, 100, 101, u64::MAX / 2] {
            tally.observe(value);
        }
        assert_eq!(tally.cumulative().collect::<Vec<_>>(), [(0, 1), (10, 3), (100, 5)]);
        assert_eq!((tally.count(), tally.sum()), (7, 223 + u64::MAX / 2));
        tally.observe(u64::MAX);
        assert_eq!((tally.count(), tally.sum()), (8, u64::MAX));
    }
}

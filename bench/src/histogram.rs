//! Delays in nanoseconds, counted in slots that grow with them: 64 for each power of two, so a value
//! read back is at most 1.6 % too small. Adding is a few instructions and never allocates.

use serde_json::{Value, json};

/// Slots for each power of two, as a power of two.
const FINE: u32 = 6;

/// The counted delays.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    greatest: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; 64 << FINE], total: 0, greatest: 0 }
    }
}

impl Histogram {
    /// Counts one delay.
    #[inline]
    pub fn add(&mut self, nanoseconds: u64) {
        self.counts[slot(nanoseconds)] += 1;
        self.total += 1;
        self.greatest = self.greatest.max(nanoseconds);
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        (self.total, self.greatest) = (0, 0);
    }

    /// The delay, in microseconds, that the given share of them does not exceed; 0 without any.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (slot, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return microseconds(value(slot));
            }
        }
        microseconds(self.greatest)
    }

    /// What is reported of them, in microseconds.
    pub fn report(&self) -> Value {
        json!({
            "n": self.total,
            "p50": self.quantile(0.5),
            "p99": self.quantile(0.99),
            "p999": self.quantile(0.999),
            "max": microseconds(self.greatest),
        })
    }
}

fn microseconds(nanoseconds: u64) -> f64 {
    // A tenth is more than the clock is good for.
    (nanoseconds as f64 / 100.0).round() / 10.0
}

#[inline]
fn slot(value: u64) -> usize {
    let top = 63 - (value | 1).leading_zeros();
    if top <= FINE {
        return value as usize;
    }
    let shift = top - FINE;
    (((shift + 1) as usize) << FINE) + ((value >> shift) as usize & ((1 << FINE) - 1))
}

fn value(slot: usize) -> u64 {
    if slot < (2 << FINE) {
        return slot as u64;
    }
    let shift = (slot >> FINE) - 1;
    ((1 << FINE) + (slot as u64 & ((1 << FINE) - 1))) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_read_back_is_at_most_a_64th_too_small() {
        for exact in [0, 1, 63, 64, 65, 127, 128, 129, 1000, 123_456, 9_999_999_999, u64::MAX] {
            let read = value(slot(exact));
            assert!(read <= exact && exact - read <= exact / 64, "{exact} is read as {read}");
        }
    }

    #[test]
    fn quantiles_count_from_the_smallest() {
        let mut histogram = Histogram::default();
        for delay in 1..=100 {
            histogram.add(delay * 1_000_000);
        }
        let middle = histogram.quantile(0.5);
        assert!((49_000.0..=50_000.0).contains(&middle), "{middle}");
        let high = histogram.quantile(0.99);
        assert!((97_000.0..=99_000.0).contains(&high), "{high}");
        assert_eq!(histogram.report()["max"], 100_000.0);
        histogram.clear();
        assert_eq!((histogram.total(), histogram.quantile(0.5)), (0, 0.0));
    }
}

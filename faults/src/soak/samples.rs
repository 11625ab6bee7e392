//! Figures over time, and whether they are flat.

use serde_json::{Value, json};
use skynet_bench::usage::rounded;

/// The hub at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Since the beginning, in seconds.
    pub at: f64,
    /// Resident memory, in MiB.
    pub resident: f64,
    /// Open descriptors beyond those of clients.
    pub descriptors: f64,
    /// Threads.
    pub threads: f64,
    /// Share of one core since the last sample.
    pub cpu: f64,
    /// Half of the events came within so many milliseconds since the last sample.
    pub p50: f64,
    /// All but one in a hundred did.
    pub p99: f64,
    /// Clients.
    pub clients: f64,
    /// Bytes queued for all of them.
    pub queued: f64,
    /// Bytes of what clients have begun and not finished.
    pub partial: f64,
}

impl Sample {
    /// What is written of it.
    pub fn report(&self) -> Value {
        json!({
            "at_s": rounded(self.at, 0), "resident_mib": rounded(self.resident, 2),
            "descriptors_beyond_clients": self.descriptors, "threads": self.threads,
            "cpu": rounded(self.cpu, 3), "p50_ms": rounded(self.p50, 3),
            "p99_ms": rounded(self.p99, 3), "clients": self.clients,
            "queued_bytes": self.queued, "partial_bytes": self.partial,
        })
    }
}

/// A figure over time: how it is called, where it stands, and how much it may rise.
struct Figure {
    name: &'static str,
    of: fn(&Sample) -> f64,
    /// How much it may rise from the first to the last sample: so much, or this share of its mean,
    /// whichever is more.
    bound: (f64, f64),
}

/// What must be flat. Delays have a wide bound, because the machine is shared with what measures.
const FIGURES: [Figure; 5] = [
    Figure { name: "resident_mib", of: |sample| sample.resident, bound: (8.0, 0.05) },
    Figure {
        name: "descriptors_beyond_clients",
        of: |sample| sample.descriptors,
        bound: (8.0, 0.0),
    },
    Figure { name: "threads", of: |sample| sample.threads, bound: (0.5, 0.0) },
    Figure { name: "p50_ms", of: |sample| sample.p50, bound: (5.0, 0.5) },
    Figure { name: "p99_ms", of: |sample| sample.p99, bound: (50.0, 0.5) },
];

/// Samples that are left out at the beginning, as a share of all: the log of messages and the
/// allocator's pools are still filling.
const WARMING_UP: f64 = 0.2;

/// What each figure came to, and whether all are flat.
pub fn verdict(samples: &[Sample]) -> (Value, bool) {
    let skipped = (samples.len() as f64 * WARMING_UP).ceil() as usize;
    let samples = &samples[skipped.min(samples.len())..];
    let mut flat = samples.len() >= 3;
    let figures = FIGURES.iter().map(|figure| {
        let points: Vec<(f64, f64)> =
            samples.iter().map(|sample| (sample.at, (figure.of)(sample))).collect();
        let (mean, rise) = line(&points);
        let bound = figure.bound.0.max(figure.bound.1 * mean);
        flat &= rise <= bound;
        let told = json!({
            "mean": rounded(mean, 3), "rise": rounded(rise, 3), "bound": rounded(bound, 3),
            "flat": rise <= bound,
        });
        (figure.name.to_owned(), told)
    });
    (Value::Object(figures.collect()), flat)
}

/// The mean of points, and how much they rise from the first to the last: by the middle one of the
/// slopes between any two, which one bad moment does not turn.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let mean = points.iter().map(|point| point.1).sum::<f64>() / points.len().max(1) as f64;
    let pairs = points.iter().enumerate().flat_map(|(number, from)| {
        points[number + 1..].iter().map(move |to| (to.1 - from.1) / (to.0 - from.0))
    });
    let mut slopes: Vec<f64> = pairs.collect();
    slopes.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return (mean, 0.0) };
    let slope = slopes.get(slopes.len() / 2).copied().unwrap_or(0.0);
    (mean, slope * (last.0 - first.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(resident: impl Fn(f64) -> f64) -> Vec<Sample> {
        let at = (0..60).map(|minute| f64::from(minute) * 60.0);
        at.map(|at| Sample { at, resident: resident(at / 3600.0), ..Sample::default() }).collect()
    }

    #[test]
    fn a_line_is_told_by_its_mean_and_its_rise() {
        let (mean, rise) = line(&[(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]);
        assert!((mean - 2.0).abs() < 1e-9 && (rise - 2.0).abs() < 1e-9, "{mean} {rise}");
        assert_eq!(line(&[(1.0, 5.0)]), (5.0, 0.0));
        let one_bad_moment = [1.0, 1.0, 1.0, 1.0, 900.0].into_iter().enumerate();
        let points: Vec<_> = one_bad_moment.map(|(at, value)| (at as f64, value)).collect();
        assert_eq!(line(&points).1, 0.0);
    }

    #[test]
    fn memory_that_swings_is_flat_and_memory_that_grows_is_not() {
        assert!(verdict(&samples(|hours| 30.0 + (hours * 100.0).sin())).1);
        assert!(verdict(&samples(|hours| 30.0 - 5.0 * hours)).1);
        assert!(!verdict(&samples(|hours| 30.0 + 16.0 * hours)).1);
        let warming = |hours: f64| if hours < 0.15 { 20.0 } else { 60.0 };
        assert!(verdict(&samples(warming)).1, "the beginning does not count");
    }

    #[test]
    fn too_few_samples_are_no_verdict() {
        assert!(!verdict(&samples(|_| 30.0)[..3]).1);
    }
}

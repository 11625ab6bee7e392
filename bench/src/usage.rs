//! What the kernel counts for a process and for the machine, read from `/proc`.
//!
//! CPU time is that of all threads, user and system, from `schedstat`, which counts nanoseconds; the
//! clock ticks of `stat` only tell how it divides. On loopback the receiving half of TCP runs inside
//! the sender's call, so it is part of the server's time, for every server alike.

use std::fs;

use rustix::param::clock_ticks_per_second;
use serde_json::{Value, json};

/// What a process has used until one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time in nanoseconds.
    pub cpu: u64,
    user: f64,
    system: f64,
    voluntary: u64,
    involuntary: u64,
}

impl Usage {
    /// Reads it.
    pub fn of(process: u32) -> Result<Usage, String> {
        let mut usage = Usage::default();
        let stat = read(&format!("/proc/{process}/stat"))?;
        // The name of the program, which may hold spaces, ends at the last bracket.
        let mut ticks =
            stat.rsplit(')').next().into_iter().flat_map(str::split_whitespace).skip(11);
        let mut seconds = || -> Option<f64> {
            Some(ticks.next()?.parse::<f64>().ok()? / clock_ticks_per_second() as f64)
        };
        (usage.user, usage.system) =
            seconds().zip(seconds()).ok_or_else(|| format!("/proc/{process}/stat has no times"))?;
        let threads = format!("/proc/{process}/task");
        let list = fs::read_dir(&threads).map_err(|error| format!("{threads}: {error}"))?;
        for thread in list.flatten() {
            // A thread may end while it is looked at.
            let text =
                |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            usage.cpu += first(&text("schedstat"));
            let status = text("status");
            usage.voluntary += first(line(&status, "voluntary_ctxt_switches:"));
            usage.involuntary += first(line(&status, "nonvoluntary_ctxt_switches:"));
        }
        if usage.cpu == 0 {
            return Err(format!(
                "{threads} tells no CPU time: this kernel was built without CONFIG_SCHED_INFO"
            ));
        }
        Ok(usage)
    }

    /// What was used since an earlier reading. Threads that ended meanwhile take theirs with them.
    pub fn since(self, earlier: Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            user: self.user - earlier.user,
            system: self.system - earlier.system,
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }

    /// CPU time in seconds.
    pub fn seconds(self) -> f64 {
        self.cpu as f64 / 1e9
    }

    /// What is reported of it.
    pub fn report(self) -> Value {
        json!({
            "cpu_s": rounded(self.seconds(), 4),
            "user_s": rounded(self.user, 2),
            "system_s": rounded(self.system, 2),
            "voluntary_switches": self.voluntary,
            "involuntary_switches": self.involuntary,
        })
    }
}

/// Resident memory now and at its highest, in KiB.
pub fn memory(process: u32) -> Result<(u64, u64), String> {
    let status = read(&format!("/proc/{process}/status"))?;
    match (first(line(&status, "VmRSS:")), first(line(&status, "VmHWM:"))) {
        (0, _) => Err(format!("/proc/{process}/status tells no memory")),
        both => Ok(both),
    }
}

/// Seconds that the machine's processors were busy, and that the host took from them.
pub fn machine() -> Result<(f64, f64), String> {
    let stat = read("/proc/stat")?;
    let ticks: Vec<f64> = line(&stat, "cpu ")
        .split_whitespace()
        .map_while(|field| field.parse::<f64>().ok())
        .map(|ticks| ticks / clock_ticks_per_second() as f64)
        .collect();
    match ticks[..] {
        [user, nice, system, _idle, _waiting, hard, soft, stolen, ..] => {
            Ok((user + nice + system + hard + soft + stolen, stolen))
        }
        _ => Err("/proc/stat tells no times".into()),
    }
}

/// A number with so many digits after the point, since more would be noise.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// What follows `name` at the start of a line; nothing without such a line.
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default()
}

/// The first number in a line; 0 without one.
fn first(line: &str) -> u64 {
    line.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_done_between_two_readings_is_counted() {
        let this = std::process::id();
        let before = Usage::of(this).expect("a reading");
        let mut value = 1_u64;
        while Usage::of(this).expect("a reading").since(before).cpu < 20_000_000 {
            value = std::hint::black_box(value.wrapping_mul(3));
        }
        let (resident, highest) = memory(this).expect("memory");
        assert!(resident > 100 && highest >= resident, "{resident} {highest}");
        assert!(machine().expect("times").0 > 0.0);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let error = Usage::of(u32::MAX).expect_err("no such process");
        assert!(error.contains(&u32::MAX.to_string()), "{error}");
    }
}

//! What did not hold, as a sentence for whoever reads the end of a run.

use std::{fmt, io, time::Duration};

use tokio::time::{Instant, interval, timeout};

/// How long anything may take that is to happen soon.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// What did not hold.
#[derive(Debug, Clone)]
pub struct Problem(pub String);

/// Something that either holds or is told.
pub type Outcome<T = ()> = Result<T, Problem>;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Problem {
        Problem(error.to_string())
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Problem {
        Problem(text)
    }
}

/// Says where something went wrong.
pub trait During<T> {
    /// The same, with `what` before the words of an error.
    ///
    /// # Errors
    /// The error that was there.
    fn during(self, what: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: fmt::Display> During<T> for Result<T, E> {
    fn during(self, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Problem(format!("{what}: {error}")))
    }
}

/// An error with these words, unless `holds`.
///
/// # Errors
/// It does not hold.
pub fn ensure(holds: bool, words: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Problem(words())) }
}

/// Asks again and again until `condition` holds.
///
/// # Errors
/// It does not within [`DEADLINE`], or asking failed.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> Outcome<bool>) -> Outcome {
    let end = Instant::now() + DEADLINE;
    let mut pace = interval(Duration::from_millis(10));
    loop {
        if condition().await.during(what)? {
            return Ok(());
        }
        ensure(Instant::now() < end, || format!("not within {DEADLINE:?}: {what}"))?;
        pace.tick().await;
    }
}

/// What a future comes to, within [`DEADLINE`].
///
/// # Errors
/// It does not come to an end in time.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Outcome<T> {
    timeout(DEADLINE, future).await.map_err(|_| Problem(format!("not within {DEADLINE:?}: {what}")))
}

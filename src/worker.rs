//! Threads for what would hold up the runtime's thread: files, and a page that takes long to write.
//!
//! Each is made at the start and stays to the end. A system that allows no further thread refuses the
//! start, and not, at some later time, what the thread would have been for. Nothing waits for them at
//! the end of the program: one may hang in a file of a disk that does not answer.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::Builder;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one thing after the other; cheap to clone. It ends when all clones are dropped.
#[derive(Debug, Clone)]
pub struct Worker(mpsc::Sender<Job>);

/// Makes a thread that nobody waits for.
///
/// # Errors
/// The system allows no further one; the error says what to do.
pub fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let refused = |error: io::Error| {
        let text = format!(
            "no thread can be made: {error}; the system's limit on processes is too low (ulimit -u, \
             TasksMax= of a systemd unit, --pids-limit of a container)"
        );
        io::Error::new(error.kind(), text)
    };
    Builder::new().name(name.to_owned()).spawn(run).map(drop).map_err(refused)
}

/// What was to be done has panicked; the thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

impl Worker {
    /// Makes the thread.
    ///
    /// # Errors
    /// The system allows no further one.
    pub fn start(name: &str) -> io::Result<Self> {
        let (give, jobs) = mpsc::channel::<Job>();
        thread(name, move || {
            for job in jobs {
                // Who waits for it learns of a panic by the end of the channel.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        })?;
        Ok(Self(give))
    }

    /// Has it done on the thread, and waits for what comes of it. It is done even when nobody waits
    /// any more.
    ///
    /// # Errors
    /// It has panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (tell, told) = oneshot::channel();
        let job = move || {
            // Who asked may have gone.
            let _ = tell.send(job());
        };
        // The thread is there as long as this is.
        let _ = self.0.send(Box::new(job));
        told.await.map_err(|_| Panicked)
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault of the program; the log has more")
    }
}

impl std::error::Error for Panicked {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[tokio::test]
    async fn things_are_done_in_turn_on_one_thread_which_outlives_a_panic() {
        let worker = Worker::start("test").unwrap();
        let name = || thread::current().name().map(str::to_owned);
        let (first, second) = tokio::join!(worker.run(name), worker.run(|| thread::current().id()));
        assert_eq!(first.unwrap().as_deref(), Some("test"));
        assert_eq!(worker.run(|| panic!("of the test")).await, Err::<(), _>(Panicked));
        assert_eq!(worker.run(|| thread::current().id()).await, second);
        assert_ne!(second.unwrap(), thread::current().id());
    }
}

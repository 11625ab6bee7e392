//! The writes of a turn of the flusher by one system call, where the system can do that.
//!
//! Only what pays is written so: small single runs of bytes to several clients. The rest, and what a
//! socket did not take, is for the ordinary way, which the flusher goes afterwards; so is everything
//! on other systems than Linux.

use super::link::Links;
use crate::config::IoUring;
use crate::hub::Job;
use std::io;

/// Fewer writes than this are made one by one: a ring costs more to go through than they save.
const LEAST_JOBS: usize = 2;

/// Runs of more bytes than this are written by themselves: of what they cost the way into the
/// system is little, and by a ring they cost more than without.
const MOST_BYTES: usize = 4 * 1024;

/// The system's way to make many writes by one call.
#[derive(Debug)]
pub struct Ring(system::Ring);

impl Ring {
    /// What `wanted` asks for, and why there is none if it leaves that to the system.
    ///
    /// # Errors
    /// It is wanted and cannot be had.
    pub fn find(wanted: IoUring) -> io::Result<(Option<Self>, Option<io::Error>)> {
        if wanted == IoUring::Off {
            return Ok((None, None));
        }
        match system::Ring::new() {
            Ok(ring) => Ok((Some(Self(ring)), None)),
            Err(error) if wanted == IoUring::On => Err(error),
            Err(error) => Ok((None, Some(error))),
        }
    }

    /// Writes what it pays for, and takes from each job's batch what the socket has taken. A job
    /// whose batch is empty then is done.
    pub(super) fn send(&mut self, links: &Links, jobs: &mut [Job]) {
        if jobs.len() >= LEAST_JOBS {
            self.0.send(links, jobs);
        }
    }

    /// Whether it goes on.
    pub(super) fn is_usable(&self) -> bool {
        self.0.is_usable()
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::{Job, Links, MOST_BYTES};
    use skynet_uring::Send;
    use std::io;

    pub(super) use skynet_uring::Ring as Inner;

    #[derive(Debug)]
    pub(super) struct Ring(Inner);

    impl Ring {
        pub fn new() -> io::Result<Self> {
            Inner::new().map(Self)
        }

        pub fn is_usable(&self) -> bool {
            self.0.is_usable()
        }

        pub fn send(&mut self, links: &Links, jobs: &mut [Job]) {
            let open = links.open();
            let sends = jobs.iter().enumerate().filter_map(|(tag, job)| {
                let bytes = job.batch.as_single().filter(|bytes| bytes.len() <= MOST_BYTES)?;
                Some(Send { tag, socket: open.get(job.key)?.descriptor()?, bytes })
            });
            for sent in self.0.send_all(sends) {
                // What went wrong the ordinary way meets again, and deals with.
                if let Ok(bytes) = sent.bytes() {
                    jobs[sent.tag].batch.advance(bytes);
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{Job, Links};
    use std::convert::Infallible;
    use std::io;

    #[derive(Debug)]
    pub(super) struct Ring(Infallible);

    impl Ring {
        pub fn new() -> io::Result<Self> {
            Err(io::Error::new(io::ErrorKind::Unsupported, "io_uring is Linux's alone"))
        }

        pub fn is_usable(&self) -> bool {
            match self.0 {}
        }

        pub fn send(&mut self, _links: &Links, _jobs: &mut [Job]) {
            match self.0 {}
        }
    }
}

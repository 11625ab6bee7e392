//! The connections that hold a listener's places, and who has to go when none is left.
//!
//! A newcomer does not wait for somebody who asks for nothing: of the connections that are not at a
//! request, one goes, of the address that has most of them the oldest. Whoever fills the listener from
//! one address so displaces itself. Each has [`GRACE`] to ask first, so that a crowd of honest ones,
//! such as all computers of a server after a restart, comes in one after the other; whoever fills the
//! listener from many addresses can hold a newcomer up for about as long. Connections at a request
//! stay, and end by time limits of their own.

use crate::access::counted_as;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// How long to wait for a place before looking again who could go.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may be at nothing before its place can be wanted by another: a few round
/// trips of a bad network.
const GRACE: Duration = Duration::from_secs(1);

/// The connections of a listener.
#[derive(Debug)]
pub(super) struct Crowd {
    places: Arc<Semaphore>,
    grace: Duration,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    /// By age, oldest first.
    list: BTreeMap<u64, Member>,
}

#[derive(Debug)]
struct Member {
    /// What counts as its address; none where connections have none.
    address: Option<IpAddr>,
    since: Instant,
    progress: Progress,
}

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Nothing: no request is there, or not all of its head.
    Nothing,
    /// A request: it is being answered, or the answer comes when it comes.
    Request,
    /// An answer, which must be taken by then.
    Answer(Instant),
    /// Its end, because its place is wanted.
    End,
}

/// What a connection is at, as those who serve it say.
#[derive(Debug, Clone)]
pub(super) struct Progress(watch::Sender<At>);

/// Why a connection has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its place is wanted by another.
    Crowded,
    /// It does not take its answer.
    Overdue,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    progress: Progress,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Crowd {
    /// A listener with so many places.
    pub fn new(places: usize) -> Arc<Self> {
        Self::with_grace(places, GRACE)
    }

    fn with_grace(places: usize, grace: Duration) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(places));
        Arc::new(Self { places, grace, members: Mutex::default() })
    }

    /// A place for a connection from `address`; when there is none, somebody who is at nothing goes.
    pub async fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Place {
        let permit = loop {
            if let Ok(permit) = self.places.clone().try_acquire_owned() {
                break Some(permit);
            }
            self.throw_out();
            // Never closed, so there is always a permit to come.
            if let Ok(permit) = timeout(PAUSE, self.places.clone().acquire_owned()).await {
                break permit.ok();
            }
        };
        let progress = Progress(watch::Sender::new(At::Nothing));
        let mut members = self.members();
        let number = members.next;
        members.next += 1;
        let address = address.map(counted_as);
        let member = Member { address, since: Instant::now(), progress: progress.clone() };
        members.list.insert(number, member);
        drop(members);
        Place { crowd: self.clone(), number, progress, _permit: permit }
    }

    /// Tells one connection that is at nothing to go.
    fn throw_out(&self) {
        let members = self.members();
        // In a crowd of honest ones nobody is there for so long, and it is not looked through.
        let oldest = members.list.first_key_value();
        if oldest.is_none_or(|(_, member)| member.since.elapsed() < self.grace) {
            return;
        }
        // Somebody may be on the way out already.
        if members.list.values().any(|member| member.progress.at() == At::End) {
            return;
        }
        let idle = || members.list.values().filter(|member| member.progress.at() == At::Nothing);
        let mut counts = HashMap::<Option<IpAddr>, usize>::new();
        // Those that have just come too: a flood whose connections are ever new would else count for
        // less than somebody who takes a moment longer.
        for member in idle() {
            *counts.entry(member.address).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or(0);
        let oldest = idle().find(|member| counts.get(&member.address) == Some(&most));
        if let Some(member) = oldest.filter(|member| member.since.elapsed() >= self.grace) {
            // Unless it has begun something in the meantime.
            member.progress.0.send_if_modified(|at| {
                let wanted = *at == At::Nothing;
                if wanted {
                    *at = At::End;
                }
                wanted
            });
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn at(&self) -> At {
        *self.0.borrow()
    }

    /// A request is there.
    pub fn asked(&self) {
        self.is_at(At::Request);
    }

    /// The answer is there, and to be taken within `time`.
    pub fn answered(&self, time: Duration) {
        self.is_at(At::Answer(Instant::now() + time));
    }

    /// The answer has been handed out whole.
    pub fn done(&self) {
        self.is_at(At::Nothing);
    }

    /// Who has to go has to, whatever it has begun since.
    fn is_at(&self, now: At) {
        self.0.send_if_modified(|at| {
            let stays = *at != At::End;
            if stays {
                *at = now;
            }
            stays
        });
    }
}

impl Place {
    /// What the connection is at, for those who serve it.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Waits until the connection has to go.
    pub async fn has_to_go(&self) -> Why {
        let mut changes = self.progress.0.subscribe();
        loop {
            let at = *changes.borrow_and_update();
            let changed = async {
                if changes.changed().await.is_err() {
                    // Not while this place holds the sender.
                    std::future::pending().await
                }
            };
            match at {
                At::End => return Why::Crowded,
                At::Nothing | At::Request => changed.await,
                At::Answer(until) => tokio::select! {
                    () = sleep_until(until) => return Why::Overdue,
                    () = changed => {}
                },
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.members().list.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Fills the places with connections from these addresses, oldest first.
    async fn filled(addresses: &[&str]) -> (Arc<Crowd>, Vec<Place>) {
        let crowd = Crowd::with_grace(addresses.len(), Duration::ZERO);
        let mut places = Vec::new();
        for address in addresses {
            places.push(crowd.enter(ip(address)).await);
        }
        (crowd, places)
    }

    /// The number of the one who has to go for a newcomer.
    fn thrown_out(places: &[Place]) -> Option<usize> {
        places.iter().position(|place| place.progress.at() == At::End)
    }

    #[tokio::test]
    async fn of_the_address_with_most_the_oldest_goes() {
        let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "192.0.2.3"];
        let (crowd, places) = filled(&addresses).await;
        crowd.throw_out();
        assert_eq!(thrown_out(&places), Some(2), "of IPv6 a network counts as one");
        let (crowd, places) = filled(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]).await;
        crowd.throw_out();
        assert_eq!(thrown_out(&places), Some(0));
        crowd.throw_out();
        let leaving = places.iter().filter(|place| place.progress.at() == At::End);
        assert_eq!(leaving.count(), 1, "for one newcomer one goes");
    }

    #[tokio::test]
    async fn who_is_at_a_request_stays() {
        let (crowd, places) = filled(&["192.0.2.1", "192.0.2.1", "192.0.2.2"]).await;
        places[0].progress().asked();
        places[1].progress().answered(Duration::from_secs(60));
        crowd.throw_out();
        assert_eq!(thrown_out(&places), Some(2));
        let (crowd, places) = filled(&["192.0.2.1"]).await;
        places[0].progress().asked();
        crowd.throw_out();
        assert_eq!(thrown_out(&places), None);
        places[0].progress().done();
        crowd.throw_out();
        assert_eq!(thrown_out(&places), Some(0));
        places[0].progress().asked();
        assert_eq!(places[0].has_to_go().await, Why::Crowded, "what comes after is too late");
    }

    #[tokio::test]
    async fn who_has_come_just_now_stays_until_it_could_have_asked() {
        let grace = Duration::from_millis(300);
        let crowd = Crowd::with_grace(2, grace);
        let begun = Instant::now();
        let places = [crowd.enter(ip("192.0.2.1")).await, crowd.enter(ip("192.0.2.1")).await];
        crowd.throw_out();
        assert!(begun.elapsed() >= grace || thrown_out(&places).is_none());
        let mut newcomer = Box::pin(crowd.enter(ip("192.0.2.2")));
        tokio::select! {
            why = places[0].has_to_go() => assert_eq!(why, Why::Crowded),
            _ = newcomer.as_mut() => panic!("nobody has gone"),
        }
        assert!(begun.elapsed() >= grace);
    }

    #[tokio::test]
    async fn the_young_of_a_flood_count_and_nobody_goes_in_their_stead() {
        let grace = Duration::from_millis(300);
        let crowd = Crowd::with_grace(3, grace);
        let honest = crowd.enter(ip("192.0.2.1")).await;
        sleep_until(first_since(&crowd) + grace).await;
        let flood = [crowd.enter(ip("192.0.2.2")).await, crowd.enter(ip("192.0.2.2")).await];
        let mut newcomer = Box::pin(crowd.enter(ip("192.0.2.2")));
        tokio::select! {
            why = flood[0].has_to_go() => assert_eq!(why, Why::Crowded),
            _ = honest.has_to_go() => panic!("the flood's own go first"),
            _ = newcomer.as_mut() => panic!("nobody has gone"),
        }
    }

    /// When the first of a crowd came.
    fn first_since(crowd: &Crowd) -> Instant {
        crowd.members().list.first_key_value().expect("it is there").1.since
    }

    #[tokio::test]
    async fn a_newcomer_gets_the_place_of_who_goes_or_waits_for_one() {
        let (crowd, mut places) = filled(&["192.0.2.1"]).await;
        places[0].progress().asked();
        let mut newcomer = Box::pin(crowd.enter(ip("192.0.2.2")));
        assert!(timeout(3 * PAUSE, newcomer.as_mut()).await.is_err());
        places[0].progress().done();
        assert!(timeout(3 * PAUSE, newcomer.as_mut()).await.is_err());
        let first = places.remove(0);
        let told = timeout(Duration::from_secs(10), first.has_to_go()).await;
        assert_eq!(told, Ok(Why::Crowded));
        drop(first);
        let second = timeout(Duration::from_secs(10), newcomer).await.expect("a place");
        assert_eq!(crowd.members().list.len(), 1);
        drop(second);
        assert_eq!(crowd.members().list.len(), 0);
    }

    #[tokio::test]
    async fn who_does_not_take_an_answer_in_its_time_has_to_go() {
        let (_crowd, places) = filled(&["192.0.2.1"]).await;
        let progress = places[0].progress();
        let time = Duration::from_millis(400);
        let waits = || timeout(time / 2, places[0].has_to_go());
        for _ in 0..3 {
            progress.answered(time);
            assert!(waits().await.is_err(), "each answer has its time");
        }
        progress.done();
        assert!(waits().await.is_err() && waits().await.is_err() && waits().await.is_err());
        progress.answered(time);
        let begun = Instant::now();
        assert_eq!(places[0].has_to_go().await, Why::Overdue);
        assert!(begun.elapsed() >= time);
    }
}

//! The connections that hold a listener's places, and who has to go when none is left.
//!
//! A newcomer does not wait for somebody who asks for nothing: of the connections that are not at a
//! request, one goes, of the address that has most of them the oldest. Whoever fills the listener from
//! one address so displaces itself. Each has [`GRACE`] for its first request, so that a crowd of honest
//! ones, such as all computers of a server after a restart, comes in one after the other. Connections at
//! a request stay, and end by time limits of their own.
//!
//! An address that keeps using up that grace loses it ([`Silence`]): thousands of silent connections may
//! wait to be accepted, and a newcomer behind them, who would wait for the grace of them all. So one
//! address can hold a newcomer up for little more than one grace, and many addresses for a few.

use super::silence::Silence;
use crate::access::counted_as;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

/// How long to wait for a place before looking again who could go.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a connection has for its first request before its place can be wanted by another: a few
/// round trips of a bad network.
const GRACE: Duration = Duration::from_secs(1);

/// The connections of a listener.
#[derive(Debug)]
pub(super) struct Crowd {
    places: Arc<Semaphore>,
    /// How many there are.
    total: u32,
    grace: Duration,
    members: Mutex<Members>,
}

#[derive(Debug)]
struct Members {
    next: u64,
    /// By age, oldest first.
    list: BTreeMap<u64, Member>,
    silence: Silence,
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
    /// Its beginning: its first request is not there, or not all of its head.
    Beginning,
    /// Nothing: the next request is not there, or not all of its head; it must be by then.
    Nothing(Instant),
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
    /// It does not take its answer, or not the end of it that the next request waits for.
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
        let total = u32::try_from(places).unwrap_or(u32::MAX);
        let silence = Silence::of_places(places);
        let members = Mutex::new(Members { next: 0, list: BTreeMap::new(), silence });
        Arc::new(Self { places: Arc::new(Semaphore::new(places)), total, grace, members })
    }

    /// A place for a connection from `address`; when there is none, somebody who is at nothing goes.
    pub async fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Place {
        let permit = loop {
            if let Ok(permit) = self.places.clone().try_acquire_owned() {
                break Some(permit);
            }
            // Those who have come have a turn first, so that what they have asked is known.
            yield_now().await;
            if self.is_full() {
                self.throw_out();
            }
            // Never closed, so there is always a permit to come.
            if let Ok(permit) = timeout(PAUSE, self.places.clone().acquire_owned()).await {
                break permit.ok();
            }
        };
        let progress = Progress(watch::Sender::new(At::Beginning));
        let mut members = self.members();
        let number = members.next;
        members.next += 1;
        let address = address.map(counted_as);
        let member = Member { address, since: Instant::now(), progress: progress.clone() };
        members.list.insert(number, member);
        drop(members);
        Place { crowd: self.clone(), number, progress, _permit: permit }
    }

    /// Waits until all places are free.
    pub async fn emptied(&self) {
        // Never closed, so they all become free.
        let _ = self.places.acquire_many(self.total).await;
    }

    /// Tells one connection that is at nothing to go.
    fn throw_out(&self) {
        let now = Instant::now();
        let mut members = self.members();
        // Somebody may be on the way out already.
        if members.list.values().any(|member| member.progress.at() == At::End) {
            return;
        }
        let may_go = |member: &Member| match member.progress.at() {
            At::Nothing(_) => true,
            At::Beginning => {
                now.duration_since(member.since) >= self.grace
                    || members.silence.is_known_of(member.address, now)
            }
            At::Request | At::Answer(_) | At::End => false,
        };
        let is_idle =
            |member: &&Member| matches!(member.progress.at(), At::Beginning | At::Nothing(_));
        let idle = || members.list.values().filter(is_idle);
        let mut counts = HashMap::<Option<IpAddr>, usize>::new();
        // Those that have just come too: a flood whose connections are ever new would else count for
        // less than somebody who takes a moment longer.
        for member in idle() {
            *counts.entry(member.address).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or(0);
        let has_most = |member: &&Member| counts.get(&member.address) == Some(&most);
        let goes = idle().filter(has_most).find(|member| may_go(member));
        let Some((address, progress)) = goes.map(|goes| (goes.address, goes.progress.clone()))
        else {
            return;
        };
        let mut was = At::End;
        progress.0.send_if_modified(|at| {
            // Unless it has begun something in the meantime.
            let goes = matches!(at, At::Beginning | At::Nothing(_));
            if goes {
                was = std::mem::replace(at, At::End);
            }
            goes
        });
        if was == At::Beginning {
            members.silence.noticed(address, now);
        }
    }

    fn is_full(&self) -> bool {
        self.places.available_permits() == 0
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

    /// Waits until a first request is there.
    pub async fn has_asked(&self) {
        // This holds the sender.
        let _ = self.0.subscribe().wait_for(|at| *at != At::Beginning).await;
    }

    /// The answer is there, and to be taken within `time`.
    pub fn answered(&self, time: Duration) {
        self.is_at(At::Answer(Instant::now() + time));
    }

    /// The answer has been handed out whole; the next request must be there within `time`.
    pub fn done(&self, time: Duration) {
        self.is_at(At::Nothing(Instant::now() + time));
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
                At::Beginning | At::Request => changed.await,
                At::Answer(until) | At::Nothing(until) => tokio::select! {
                    () = sleep_until(until) => return Why::Overdue,
                    () = changed => {}
                },
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let wanted = self.crowd.is_full();
        let mut members = self.crowd.members();
        let member = members.list.remove(&self.number);
        // Else one could leave just before it is told to.
        if let Some(member) = member.filter(|_| wanted && self.progress.at() == At::Beginning) {
            members.silence.noticed(member.address, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

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
        places[0].progress().done(LONG);
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
    async fn an_address_that_keeps_using_up_its_time_to_ask_has_none_any_more() {
        let crowd = Crowd::with_grace(2, Duration::from_secs(600));
        let silent = || crowd.enter(ip("192.0.2.1"));
        let places = [silent().await, silent().await];
        crowd.throw_out();
        assert_eq!(thrown_out(&places), None);
        // One leaves by itself just before it had to.
        let [first, second] = places;
        drop(first);
        let third = silent().await;
        crowd.throw_out();
        assert_eq!(second.progress.at(), At::End);
        assert_eq!(third.progress.at(), At::Beginning);
        drop(second);
        // It has not used up the time of anybody else.
        let other = crowd.enter(ip("192.0.2.2")).await;
        drop(third);
        let other = [other, crowd.enter(ip("192.0.2.2")).await];
        crowd.throw_out();
        assert_eq!(thrown_out(&other), None);
    }

    #[tokio::test]
    async fn who_has_asked_once_has_no_more_time_when_its_place_is_wanted() {
        let crowd = Crowd::with_grace(2, Duration::from_secs(600));
        let places = [crowd.enter(ip("192.0.2.1")).await, crowd.enter(ip("192.0.2.1")).await];
        places[1].progress().asked();
        places[1].progress().done(LONG);
        crowd.throw_out();
        assert_eq!(thrown_out(&places), Some(1));
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
        places[0].progress().done(LONG);
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
        progress.asked();
        assert!(waits().await.is_err() && waits().await.is_err() && waits().await.is_err());
        progress.answered(time);
        let begun = Instant::now();
        assert_eq!(places[0].has_to_go().await, Why::Overdue);
        assert!(begun.elapsed() >= time);
    }

    #[tokio::test]
    async fn who_sends_no_further_request_in_its_time_has_to_go() {
        let (_crowd, places) = filled(&["192.0.2.1"]).await;
        let time = Duration::from_millis(100);
        let begun = Instant::now();
        places[0].progress().done(time);
        assert_eq!(places[0].has_to_go().await, Why::Overdue);
        assert!(begun.elapsed() >= time);
    }
}

//! Who is still there: pings, their answers, and who has not given any.

use super::clients::ClientKey;
use super::outbox::Writer;
use super::state::State;
use crate::protocol::{CloseReason, Frame};
use std::time::{Duration, Instant};

/// Pings that may go unanswered before the client counts as gone.
const MISSED_PINGS: u32 = 2;

impl State {
    /// Pings every client that has not been pinged for `interval`, and closes those that left the
    /// last pings unanswered.
    pub fn ping_round(&mut self, interval: Duration, now: Instant) {
        let open = self.clients.iter().filter(|(_, client)| client.closing.is_none());
        let due = open.filter(|(_, client)| now >= client.pings.last + interval);
        let due: Vec<usize> = due.map(|(slot, _)| slot).collect();
        for slot in due {
            let client = &mut self.clients[slot];
            // A pong may stand behind commands that wait, not for the client to read but for the
            // hub to go on: that is no sign of its absence.
            let held = client.reading_paused
                && client.outbox.backlog.is_some()
                && client.outbox.writer != Writer::Session;
            let pings = &mut client.pings;
            if held {
                pings.unanswered = 0;
            }
            if pings.unanswered >= MISSED_PINGS {
                let reason = CloseReason::PingTimeout;
                self.close_slot(slot, reason, reason.text());
                continue;
            }
            pings.unanswered += 1;
            pings.sequence = pings.sequence.wrapping_add(1);
            pings.last = now;
            let frame = Frame::ping(&pings.sequence.to_be_bytes());
            self.push(slot, &frame);
        }
        self.keep_total();
    }

    /// Clients that have not answered and whose sockets are full: whether they take anything shows
    /// only when it is tried, and who does lives.
    pub fn silent_and_full(&self) -> Vec<ClientKey> {
        let silent = self.clients.iter().filter(|(_, client)| {
            client.pings.unanswered > 0
                && client.outbox.writer == Writer::Session
                && client.closing.is_none()
        });
        silent.map(|(slot, client)| ClientKey::new(slot, client.id)).collect()
    }

    /// Takes note of a pong. Any pong proves that the client lives; the one that answers the last
    /// ping also tells how long it took, which is returned.
    pub fn pong(&mut self, key: ClientKey, payload: &[u8], now: Instant) -> Option<Duration> {
        let pings = &mut self.client(key)?.pings;
        let answers_last = pings.unanswered > 0 && payload == pings.sequence.to_be_bytes();
        pings.unanswered = 0;
        if answers_last {
            pings.round_trip = Some(now.saturating_duration_since(pings.last));
        }
        pings.round_trip.filter(|_| answers_last)
    }
}

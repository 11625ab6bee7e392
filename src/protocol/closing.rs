//! Why a connection ended: one closed list, shared by the hub, the metrics and the docs.
//!
//! A close code is what a client's program sees; the label is what metrics and logs say. Codes
//! 1xxx and 40xx mean: come back after a growing, jittered pause. Codes 45xx mean: not by
//! yourself.

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// 1001: the server is stopping.
    ServerStopping,
    /// 1002: the client broke the framing of RFC 6455.
    ProtocolError,
    /// 1009: a frame or joined message exceeded `limits.max_frame_bytes`, or this client held
    /// most of `limits.total_partial_bytes` when that ran out.
    FrameTooLarge,
    /// 1011: the hub failed while it served this client.
    InternalError,
    /// 4000: live events exceeded `limits.max_queue_bytes`, or this client's queue was the
    /// largest when `limits.total_queue_bytes` ran out.
    TooSlow,
    /// 4001: two pings went unanswered.
    PingTimeout,
    /// 4002: over `limits.messages_per_second` for ten seconds on end.
    RateLimited,
    /// 4500: the owner closed the connection.
    Kicked,
    /// 4501: the owner banned the client.
    Banned,
    /// 4502: the token was not accepted.
    BadToken,
    /// Seen, not sent: the client closed, by a close frame or by ending its stream in order.
    ClientClosed,
    /// Seen, not sent: the connection broke, by a reset, an error or in the middle of a frame.
    ConnectionLost,
}

/// What becomes of a client's queue when the hub closes its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The queue is sent, then a ping; the close frame follows the pong or one second, because
    /// the game loses a message that a close frame follows at once.
    QueueThenPing,
    /// The queue is sent, then the close frame.
    Queue,
    /// The frame begun is finished, the rest is dropped and counted, then the close frame.
    Cut,
}

impl CloseReason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::ServerStopping,
        Self::ProtocolError,
        Self::FrameTooLarge,
        Self::InternalError,
        Self::TooSlow,
        Self::PingTimeout,
        Self::RateLimited,
        Self::Kicked,
        Self::Banned,
        Self::BadToken,
        Self::ClientClosed,
        Self::ConnectionLost,
    ];

    /// The close code sent to the client; none for what is only seen.
    pub fn code(self) -> Option<u16> {
        match self {
            Self::ServerStopping => Some(1001),
            Self::ProtocolError => Some(1002),
            Self::FrameTooLarge => Some(1009),
            Self::InternalError => Some(1011),
            Self::TooSlow => Some(4000),
            Self::PingTimeout => Some(4001),
            Self::RateLimited => Some(4002),
            Self::Kicked => Some(4500),
            Self::Banned => Some(4501),
            Self::BadToken => Some(4502),
            Self::ClientClosed | Self::ConnectionLost => None,
        }
    }

    /// The reason as metrics and logs name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::ServerStopping => "server_stopping",
            Self::ProtocolError => "protocol_error",
            Self::FrameTooLarge => "frame_too_large",
            Self::InternalError => "internal_error",
            Self::TooSlow => "too_slow",
            Self::PingTimeout => "ping_timeout",
            Self::RateLimited => "rate_limited",
            Self::Kicked => "kicked",
            Self::Banned => "banned",
            Self::BadToken => "bad_token",
            Self::ClientClosed => "client_closed",
            Self::ConnectionLost => "connection_lost",
        }
    }

    /// The reason in the close frame, where nobody gives a better one; at most 123 bytes.
    pub fn text(self) -> &'static str {
        match self {
            Self::ServerStopping => "the server is stopping",
            Self::ProtocolError => "the framing of RFC 6455 was broken",
            Self::FrameTooLarge => "frame too large",
            Self::InternalError => "internal error",
            Self::TooSlow => "too slow: events were not read as fast as they came",
            Self::PingTimeout => "no answer to two pings",
            Self::RateLimited => "rate limit exceeded for 10 seconds on end",
            Self::Kicked => "kicked by the owner of the server",
            Self::Banned => "banned by the owner of the server",
            Self::BadToken => "the token was not accepted",
            Self::ClientClosed => "closed by the client",
            Self::ConnectionLost => "connection lost",
        }
    }

    /// What becomes of the queue.
    pub fn farewell(self) -> Farewell {
        match self {
            Self::ServerStopping | Self::Kicked | Self::Banned | Self::BadToken => {
                Farewell::QueueThenPing
            }
            Self::ProtocolError
            | Self::FrameTooLarge
            | Self::InternalError
            | Self::RateLimited
            | Self::ClientClosed => Farewell::Queue,
            Self::TooSlow | Self::PingTimeout | Self::ConnectionLost => Farewell::Cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::websocket::MAX_CLOSE_REASON_BYTES;

    #[test]
    fn every_reason_stands_at_its_own_place_and_fits_a_close_frame() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(reason.text().len() <= MAX_CLOSE_REASON_BYTES);
        }
    }
}

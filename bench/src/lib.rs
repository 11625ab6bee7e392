//! Load for websocket hubs, and what is read while it runs. Linux only.
//!
//! `skynet-load` is one thread around one epoll set that does as little for each frame it receives
//! as still proves that the frame came, once and in order; it must not be what is measured.
//! `skynet-floor` is a server that only writes the same bytes to the same sockets. `compare.py`
//! beside this package starts servers and calls both.
//!
//! In reading order:
//!
//! - [`options`]: the command line.
//! - [`scenario`]: what is connected, sent and reported in each scene.
//! - [`engine`]: the connections, the loop, and the books of what was sent and what came.
//! - [`dialect`], [`marker`], [`websocket`]: what goes over the wire.
//! - [`histogram`], [`usage`]: delays, and what the kernel counted.
//! - [`floor`]: the least a hub can do.
//! - [`socket`]: the calls of the kernel that both programs need.

pub mod dialect;
pub mod engine;
pub mod floor;
pub mod histogram;
pub mod marker;
pub mod options;
pub mod scenario;
pub mod socket;
pub mod usage;
pub mod websocket;

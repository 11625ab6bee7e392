//! Where a hub is: the `Host` header of who asks, and the owner's own word for it.

use crate::config::{Authority, PublicUrl};

/// Reads a text as a host with its port, and as an address: what is taken is written in letters
/// that are safe in HTML, Lua and a shell, and read again as the same.
///
/// # Panics
/// That does not hold.
pub fn host(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(authority) = text.parse::<Authority>() {
        let written = authority.to_string();
        let safe = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.:[]".contains(&byte)
        };
        assert!(written.bytes().all(safe), "{written:?}");
        assert!(written.len() <= 300);
        assert_eq!(written.parse(), Ok(authority));
    }
    if let Ok(url) = text.parse::<PublicUrl>() {
        let written = url.to_string();
        assert!(written.starts_with("http://") || written.starts_with("https://"));
        assert_eq!(written.parse().ok(), Some(url));
    }
}

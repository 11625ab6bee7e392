//! What every message says: who published it, which of theirs it is, and when it was due.
//!
//! It is found again in whatever a hub wraps it in, so that every delivery is checked for loss and
//! order by one comparison, and its delay is known without a table of what was sent.

/// What a marker begins with; it needs no escaping in JSON and stands nowhere else.
const SIGN: &[u8] = b"@~";
/// Bytes of a marker: the sign, 4 hexadecimal digits of publisher, 8 of number, 16 of time.
pub const LENGTH: usize = 2 + 4 + 8 + 16;
/// Publishers that a marker can tell apart.
pub const PUBLISHERS: u32 = 1 << 16;
/// Where a marker begins at most: what a hub puts before it is short.
const SEARCHED: usize = 400;

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Who published it.
    pub publisher: u32,
    /// Which of the publisher's messages it is, from 0.
    pub number: u32,
    /// When it was to be sent, on the clock of [`crate::socket::now`].
    pub due: u64,
}

impl Marker {
    /// Appends a text of `size` bytes, or of [`LENGTH`] where that is more.
    pub fn write(self, size: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(SIGN);
        digits(self.publisher.into(), 4, out);
        digits(self.number.into(), 8, out);
        digits(self.due, 16, out);
        out.extend((LENGTH..size).map(|position| b'a' + (position % 26) as u8));
        debug_assert_eq!(out.len(), start + size.max(LENGTH));
    }

    /// The marker in what a hub sent. `hint` remembers where the last one stood.
    #[inline]
    pub fn find(bytes: &[u8], hint: &mut usize) -> Option<Marker> {
        if !bytes.get(*hint..).is_some_and(|rest| rest.starts_with(SIGN)) {
            *hint = bytes.windows(2).take(SEARCHED).position(|window| window == SIGN)?;
        }
        let marker: &[u8; LENGTH] = bytes[*hint..].first_chunk()?;
        Some(Marker {
            publisher: number(&marker[2..6]) as u32,
            number: number(&marker[6..14]) as u32,
            due: number(&marker[14..]),
        })
    }
}

fn digits(value: u64, count: u32, out: &mut Vec<u8>) {
    for place in (0..count).rev() {
        out.push(b"0123456789abcdef"[(value >> (place * 4)) as usize & 15]);
    }
}

/// The value of lower-case digits. Others give a number too, which then is out of order.
#[inline]
fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value, &digit| {
        let digit =
            if digit > b'9' { digit.wrapping_sub(b'a' - 10) } else { digit.wrapping_sub(b'0') };
        value << 4 | u64::from(digit & 15)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: Marker =
        Marker { publisher: 0xab12, number: 0xdead_beef, due: 0x0123_4567_89ab_cdef };

    #[test]
    fn a_marker_is_found_wherever_it_stands() {
        let mut hint = 0;
        for before in ["", r#"{"type":"message","message":""#, r#"{"message":""#] {
            let mut bytes = before.as_bytes().to_vec();
            MARKER.write(128, &mut bytes);
            assert_eq!(bytes.len(), before.len() + 128);
            assert_eq!(Marker::find(&bytes, &mut hint), Some(MARKER));
            assert_eq!(hint, before.len());
        }
    }

    #[test]
    fn what_is_too_short_or_says_nothing_holds_no_marker() {
        let mut text = Vec::new();
        MARKER.write(0, &mut text);
        assert_eq!(text.len(), LENGTH);
        assert_eq!(Marker::find(&text[..LENGTH - 1], &mut 0), None);
        assert_eq!(Marker::find(b"nothing", &mut 0), None);
        assert_eq!(Marker::find(b"", &mut 7), None);
    }
}

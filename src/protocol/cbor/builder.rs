//! CBOR whose arrays and maps are counted while they are written.
//!
//! The head of an array or map says how much it holds, which is known at its end. Every container
//! begins with a placeholder of one byte, which is all that most heads take; a count too large for
//! it, or an entry that a later one overrides, costs one copy of the whole when it is finished.
//! Heads, integers and floats are written in their shortest form, lengths are always known.

use super::maps::{self, Entry};
use crate::protocol::websocket::HEADROOM;
use std::ops::Range;

/// Major types of containers.
const ARRAY: u8 = 4;
const MAP: u8 = 5;

/// An array or map in what is written.
#[derive(Debug)]
struct Container {
    /// Where its placeholder stands.
    at: usize,
    major: u8,
    count: u64,
}

/// A container that is being written.
#[derive(Debug)]
pub struct Open {
    container: usize,
    /// Entries of the maps around it.
    outer: usize,
}

/// Writes values one after the other.
#[derive(Debug)]
pub struct Builder {
    /// Room for a frame's header, then what is written.
    out: Vec<u8>,
    containers: Vec<Container>,
    entries: Vec<Entry>,
    removed: Vec<Range<usize>>,
}

impl Builder {
    /// Begins with room for about `length` bytes.
    pub fn new(length: usize) -> Self {
        let mut out = Vec::with_capacity(HEADROOM + length);
        out.resize(HEADROOM, 0);
        Self { out, containers: Vec::new(), entries: Vec::new(), removed: Vec::new() }
    }

    /// Begins an array, to be ended by [`Self::end_array`].
    pub fn array(&mut self) -> Open {
        self.begin(ARRAY)
    }

    /// Ends an array of `count` items.
    pub fn end_array(&mut self, array: Open, count: u64) {
        self.containers[array.container].count = count;
    }

    /// Begins a map, to be ended by [`Self::end_map`].
    pub fn map(&mut self) -> Open {
        self.begin(MAP)
    }

    /// Notes that the key of the map's next entry stands written from `start` on.
    pub fn key_written(&mut self, start: usize) {
        self.entries.push(Entry { start, key_end: self.out.len() });
    }

    /// Ends a map; of entries with the same key the last is left.
    pub fn end_map(&mut self, map: Open) {
        let entries = &self.entries[map.outer..];
        let count = maps::override_earlier(&self.out, entries, &mut self.removed);
        self.containers[map.container].count = count as u64;
        self.entries.truncate(map.outer);
    }

    fn begin(&mut self, major: u8) -> Open {
        let open = Open { container: self.containers.len(), outer: self.entries.len() };
        self.containers.push(Container { at: self.out.len(), major, count: 0 });
        self.out.push(0);
        open
    }

    /// Where the next item will stand.
    pub fn at(&self) -> usize {
        self.out.len()
    }

    /// Takes back a string or number that stands from `at` on.
    pub fn take_back(&mut self, at: usize) {
        self.out.truncate(at);
    }

    /// Writes a text.
    pub fn text(&mut self, text: &str) {
        write_head(3, text.len() as u64, &mut self.out);
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Writes a byte string.
    pub fn bytes(&mut self, bytes: &[u8]) {
        write_head(2, bytes.len() as u64, &mut self.out);
        self.out.extend_from_slice(bytes);
    }

    /// Writes an integer from 0 on.
    pub fn unsigned(&mut self, number: u64) {
        write_head(0, number, &mut self.out);
    }

    /// Writes the integer -1 - `number`.
    pub fn negative(&mut self, number: u64) {
        write_head(1, number, &mut self.out);
    }

    /// Writes false or true.
    pub fn bool(&mut self, value: bool) {
        self.out.push(if value { 0xf5 } else { 0xf4 });
    }

    /// Writes null.
    pub fn null(&mut self) {
        self.out.push(0xf6);
    }

    /// Writes a float in the shortest form that keeps its value; null for what is not finite.
    pub fn float(&mut self, number: f64) {
        if !number.is_finite() {
            return self.null();
        }
        let single = number as f32;
        if f64::from(single) != number {
            self.out.push(0xfb);
            self.out.extend_from_slice(&number.to_bits().to_be_bytes());
        } else if let Some(half) = half(single) {
            self.out.push(0xf9);
            self.out.extend_from_slice(&half.to_be_bytes());
        } else {
            self.out.push(0xfa);
            self.out.extend_from_slice(&single.to_bits().to_be_bytes());
        }
    }

    /// Writes the items that another builder has written.
    pub fn append(&mut self, other: Self) {
        self.out.extend_from_slice(&other.finish()[HEADROOM..]);
    }

    /// What is written, behind [`HEADROOM`] bytes.
    pub fn finish(mut self) -> Vec<u8> {
        if self.removed.is_empty() && self.containers.iter().all(|open| open.count < 24) {
            for container in &self.containers {
                self.out[container.at] = container.major << 5 | container.count as u8;
            }
            return self.out;
        }
        let removed = std::mem::take(&mut self.removed);
        let mut containers = self.containers.iter().peekable();
        let mut whole = Vec::with_capacity(self.out.len() + 4 * self.containers.len());
        for Range { start, end } in maps::kept(0..self.out.len(), removed) {
            let mut copied = start;
            while let Some(container) = containers.next_if(|container| container.at < end) {
                if container.at < start {
                    continue;
                }
                whole.extend_from_slice(&self.out[copied..container.at]);
                write_head(container.major, container.count, &mut whole);
                copied = container.at + 1;
            }
            whole.extend_from_slice(&self.out[copied..end]);
        }
        whole
    }
}

fn write_head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match argument {
        0..=23 => out.push(major | argument as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

/// A finite float in 16 bits, if they hold its value.
fn half(number: f32) -> Option<u16> {
    let bits = number.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let (exponent, fraction) = ((bits >> 23 & 0xff) as i32 - 127, bits & 0x7f_ffff);
    // The bits that 16 have no room for: 13 of the fraction, and one more for each power of two
    // below the smallest normal number, where the leading one becomes part of the fraction.
    match exponent {
        -127 => (fraction == 0).then_some(sign),
        -14..=15 => (fraction & 0x1fff == 0)
            .then(|| sign | ((exponent + 15) as u16) << 10 | (fraction >> 13) as u16),
        -24..=-15 => {
            let (whole, lost) = (fraction | 0x80_0000, (-1 - exponent) as u32);
            (whole & ((1 << lost) - 1) == 0).then(|| sign | (whole >> lost) as u16)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::cbor::reader::{Head, Reader};
    use proptest::prelude::*;

    fn float(number: f64) -> Vec<u8> {
        let mut builder = Builder::new(9);
        builder.float(number);
        builder.finish().split_off(HEADROOM)
    }

    #[test]
    fn a_float_is_as_short_as_rfc_8949_has_it() {
        for (number, bytes) in [
            (0.0, &b"\xf9\x00\x00"[..]),
            (-0.0, b"\xf9\x80\x00"),
            (1.0, b"\xf9\x3c\x00"),
            (1.1, b"\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a"),
            (1.5, b"\xf9\x3e\x00"),
            (65504.0, b"\xf9\x7b\xff"),
            (65536.0, b"\xfa\x47\x80\x00\x00"),
            (100000.0, b"\xfa\x47\xc3\x50\x00"),
            (3.4028234663852886e+38, b"\xfa\x7f\x7f\xff\xff"),
            (1.0e+300, b"\xfb\x7e\x37\xe4\x3c\x88\x00\x75\x9c"),
            (5.960464477539063e-8, b"\xf9\x00\x01"),
            (2.9802322387695312e-8, b"\xfa\x33\x00\x00\x00"),
            (0.00006103515625, b"\xf9\x04\x00"),
            (-4.0, b"\xf9\xc4\x00"),
            (-4.1, b"\xfb\xc0\x10\x66\x66\x66\x66\x66\x66"),
            (f64::NAN, b"\xf6"),
            (f64::NEG_INFINITY, b"\xf6"),
        ] {
            assert_eq!(float(number), bytes, "{number}");
        }
    }

    #[test]
    fn every_float_of_16_bits_comes_back_in_16_bits() {
        for bits in 0..=u16::MAX {
            let encoded = [0xf9, (bits >> 8) as u8, bits as u8];
            let Ok(Head::Float(number)) = Reader::new(&encoded).head() else { panic!("a float") };
            if number.is_finite() {
                assert_eq!(float(number), encoded);
            }
        }
    }

    #[test]
    fn containers_of_any_size_are_counted_and_overridden_entries_are_gone() {
        for count in [0, 1, 23, 24, 255, 256, 70_000] {
            let mut builder = Builder::new(0);
            let outer = builder.map();
            for round in 0..2 {
                let start = builder.at();
                builder.text("k");
                builder.key_written(start);
                let inner = builder.array();
                (0..count).for_each(|_| builder.unsigned(round));
                builder.end_array(inner, count);
            }
            builder.end_map(outer);
            let written = builder.finish().split_off(HEADROOM);
            let mut reader = Reader::new(&written);
            assert_eq!(reader.head(), Ok(Head::Map(Some(1))));
            assert_eq!(reader.head(), Ok(Head::Text(Some(1))));
            assert_eq!(reader.text(Some(1)).unwrap(), "k");
            assert_eq!(reader.head(), Ok(Head::Array(Some(count))));
            for _ in 0..count {
                assert_eq!(reader.head(), Ok(Head::Unsigned(1)));
            }
            assert!(reader.rest().is_empty());
        }
    }

    proptest! {
        #[test]
        fn every_float_keeps_its_value(number in proptest::num::f64::ANY) {
            let encoded = float(number);
            match Reader::new(&encoded).head() {
                Ok(Head::Float(read)) => prop_assert_eq!(read.to_bits(), number.to_bits()),
                read => prop_assert!(!number.is_finite() && read == Ok(Head::Null)),
            }
        }
    }
}

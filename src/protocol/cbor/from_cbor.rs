//! A value in CBOR written as CBOR that any reader understands.
//!
//! The value stays what it is, byte strings and keys of any type included. Lengths are known,
//! numbers are short, tags are gone, undefined and what is not finite are null, and of equal keys
//! the last is left.

use super::builder::Builder;
use super::reader::{Head, Reader};
use super::to_json::check_level;
use crate::protocol::refusal::RefusalReason;

/// Writes the next item; an array or map is level `level` of the nesting.
pub fn value(reader: &mut Reader, out: &mut Builder, level: usize) -> Result<(), RefusalReason> {
    match reader.head()? {
        Head::Unsigned(number) => out.unsigned(number),
        Head::Negative(number) => out.negative(number),
        Head::Float(number) => out.float(number),
        Head::Bool(value) => out.bool(value),
        Head::Null => out.null(),
        Head::Text(length) => out.text(&reader.text(length)?),
        Head::Bytes(length) => out.bytes(&reader.byte_string(length)?),
        Head::Array(mut left) => {
            check_level(level)?;
            let (array, mut count) = (out.array(), 0);
            while reader.more(&mut left) {
                value(reader, out, level + 1)?;
                count += 1;
            }
            out.end_array(array, count);
        }
        Head::Map(mut left) => {
            check_level(level)?;
            let map = out.map();
            while reader.more(&mut left) {
                let start = out.at();
                key(reader, out, level + 1)?;
                out.key_written(start);
                value(reader, out, level + 1)?;
            }
            out.end_map(map);
        }
    }
    Ok(())
}

/// Writes a key. One that is an array or a map is finished on its own, since keys are compared by
/// their bytes.
pub fn key(reader: &mut Reader, out: &mut Builder, level: usize) -> Result<(), RefusalReason> {
    let mut ahead = reader.clone();
    if !matches!(ahead.head()?, Head::Array(_) | Head::Map(_)) {
        return value(reader, out, level);
    }
    let mut finished = Builder::new(0);
    value(reader, &mut finished, level)?;
    out.append(finished);
    Ok(())
}

//! The older binary form: a count of entries, each a name, a number of calls and values; then what it was computed on.

use std::io::{self, Read};

use super::{Entry, Loaded, Malformed, Unreadable, c_text};

/// Reads a whole file.
///
/// The values were divided by what they count and multiplied by the calls, so they are divided by the calls.
pub(super) fn read(mut reader: impl Read) -> Result<Loaded, Unreadable> {
    let mut loaded = Loaded::default();
    let entries = match i32_of(&mut reader)? {
        Some(n) if n > 0 => n as usize,
        _ => return Err(Unreadable::Malformed(Malformed::Empty)),
    };
    for i in 1..=entries {
        let ends = || Unreadable::Malformed(Malformed::Ends(i));
        let length = |n: i32| u64::try_from(n).map_err(|_| Unreadable::Malformed(Malformed::Length(i)));
        let name = length(i32_of(&mut reader)?.ok_or_else(ends)?)?;
        let name = bytes_of(&mut reader, name)?.ok_or_else(ends)?;
        let calls = i32_of(&mut reader)?.ok_or_else(ends)?;
        let values = length(i32_of(&mut reader)?.ok_or_else(ends)?)?;
        if values == 0 {
            return Err(Unreadable::Malformed(Malformed::Length(i)));
        }
        let bytes = bytes_of(&mut reader, 4 * values)?.ok_or_else(ends)?;
        let (floats, _) = bytes.as_chunks::<4>();
        let divisor = if calls > 0 { calls as f32 } else { 1.0 };
        let weights = floats.iter().map(|b| f32::from_le_bytes(*b) / divisor).collect();
        // A name that comes twice has its last values.
        loaded.entries.insert(c_text(&name), Entry { weights, idle: Vec::new() });
    }
    // What follows is not there in the oldest files.
    let mut chunks = [0; 4];
    let got = fill(&mut reader, &mut chunks)?;
    loaded.chunks = i32::from_le_bytes(chunks);
    if got == chunks.len()
        && let Some(n) = i32_of(&mut reader)?.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0)
    {
        loaded.dataset = bytes_of(&mut reader, n)?.map(|bytes| c_text(&bytes));
    }
    Ok(loaded)
}

/// As much of the buffer as there is.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Unreadable> {
    let mut got = 0;
    while got < buffer.len() {
        match reader.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Unreadable::Io(error)),
        }
    }
    Ok(got)
}

/// The next number, or none where the file ends.
fn i32_of(reader: &mut impl Read) -> Result<Option<i32>, Unreadable> {
    let mut bytes = [0; 4];
    Ok((fill(reader, &mut bytes)? == bytes.len()).then_some(i32::from_le_bytes(bytes)))
}

/// The next `n` bytes, or none where the file ends before. A claimed length costs no memory by itself.
fn bytes_of(reader: &mut impl Read, n: u64) -> Result<Option<Vec<u8>>, Unreadable> {
    let mut bytes = Vec::new();
    let got = reader.take(n).read_to_end(&mut bytes).map_err(Unreadable::Io)?;
    Ok((got as u64 == n).then_some(bytes))
}

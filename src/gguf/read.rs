//! Reading a header from bytes that may be hostile: every length is checked before it is believed.

use std::collections::HashSet;
use std::io::{self, Read};

use thiserror::Error;

use super::header::{Header, TensorInfo, pad};
use super::strings::Strings;
use super::types::GgmlType;
use super::value::{Array, Metadata, Value};

/// The first four bytes of every GGUF file.
pub const MAGIC: &[u8; 4] = b"GGUF";

/// Longest string that is read, as in the reference's reader.
const MAX_STRING: u64 = 1 << 30;
/// Most pairs or tensors in a header.
const MAX_ENTRIES: u64 = 1 << 20;
/// Longest array in a header.
const MAX_ARRAY: u64 = 1 << 30;
/// Longest tensor name (`GGML_MAX_NAME`, with its terminating zero).
const MAX_NAME: usize = 63;

/// Why a header was refused.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The reader failed or ended early.
    #[error("the header ends early or cannot be read")]
    Io(#[from] io::Error),
    /// The first bytes are not `GGUF`.
    #[error("not a GGUF file (it starts with `{}`)", .0.escape_ascii())]
    Magic([u8; 4]),
    /// A version that is not 2 or 3, or a big-endian file.
    #[error("GGUF version {0} is not supported")]
    Version(u32),
    /// A length beyond all reason.
    #[error("{what} claims {n} entries")]
    TooLong {
        /// What has the length.
        what: String,
        /// The length that it claims.
        n: u64,
    },
    /// A number that names no type.
    #[error("`{what}` has the unknown type {id}")]
    UnknownType {
        /// Key or tensor.
        what: String,
        /// The number.
        id: u32,
    },
    /// A key or name that is no UTF-8.
    #[error("{0} is no valid UTF-8")]
    Utf8(String),
    /// A key or tensor that comes twice.
    #[error("`{0}` appears twice")]
    Duplicate(String),
    /// A tensor whose shape, name or offset cannot be right.
    #[error("tensor `{name}`: {why}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `general.alignment` is no power of two.
    #[error("`general.alignment` is no power of two that fits")]
    Alignment,
}

type Result<T, E = ReadError> = std::result::Result<T, E>;

/// A header, and the number of bytes before the data section.
///
/// # Errors
/// [`ReadError`] says what is wrong with the file.
pub fn read_header(reader: impl Read) -> Result<(Header, u64)> {
    let mut r = Counted { inner: reader, read: 0 };
    let magic: [u8; 4] = r.bytes()?;
    if &magic != MAGIC {
        return Err(ReadError::Magic(magic));
    }
    let version = r.u32()?;
    if !(2..=3).contains(&version) {
        return Err(ReadError::Version(version));
    }
    let n_tensors = limit(r.u64()?, MAX_ENTRIES, || "the tensor list".to_owned())?;
    let n_pairs = limit(r.u64()?, MAX_ENTRIES, || "the metadata".to_owned())?;

    let mut metadata = Metadata::new();
    let mut seen = HashSet::new();
    for _ in 0..n_pairs {
        let key = r.name("a metadata key")?;
        if !seen.insert(key.clone()) {
            return Err(ReadError::Duplicate(key));
        }
        let ty = r.u32()?;
        let value = r.value(ty, &key)?;
        metadata.set_last(key, value);
    }
    let mut header = Header { metadata, tensors: Vec::new() };
    if let Some(v) = header.metadata.get("general.alignment") {
        match v.as_u64() {
            Some(n) if n.is_power_of_two() && n <= 1 << 30 => {}
            _ => return Err(ReadError::Alignment),
        }
    }
    let alignment = header.alignment();

    let mut seen = HashSet::new();
    let mut expected = 0u64;
    for _ in 0..n_tensors {
        let name = r.name("a tensor name")?;
        if !seen.insert(name.clone()) {
            return Err(ReadError::Duplicate(name));
        }
        let bad = |why| ReadError::Tensor { name: name.clone(), why };
        if name.len() > MAX_NAME {
            return Err(bad("the name is too long"));
        }
        let dims = r.u32()?;
        if !(1..=4).contains(&dims) {
            return Err(bad("it must have one to four dimensions"));
        }
        let mut shape = Vec::with_capacity(dims as usize);
        for _ in 0..dims {
            shape.push(r.u64()?);
        }
        let id = r.u32()?;
        let ty = GgmlType::from_id(id).ok_or_else(|| ReadError::UnknownType { what: name.clone(), id })?;
        let offset = r.u64()?;
        let values =
            shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).ok_or(bad("its size overflows"))?;
        if !shape[0].is_multiple_of(ty.block_size() as u64) {
            return Err(bad("its row length is no multiple of its type's block"));
        }
        let bytes = ty.bytes_of(values).filter(|n| *n < 1 << 60).ok_or(bad("its size overflows"))?;
        if offset != expected {
            return Err(bad("its offset does not follow from the tensors before it"));
        }
        expected = expected.checked_add(pad(bytes, alignment)).ok_or(bad("its size overflows"))?;
        header.tensors.push(TensorInfo { name, shape, ty, offset });
    }
    Ok((header, pad(r.read, alignment)))
}

fn limit(n: u64, max: u64, what: impl FnOnce() -> String) -> Result<u64> {
    if n > max { Err(ReadError::TooLong { what: what(), n }) } else { Ok(n) }
}

struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Counted<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut buf = [0; N];
        self.inner.read_exact(&mut buf)?;
        self.read += N as u64;
        Ok(buf)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// Reads as the bytes come, so that a claimed length costs no memory by itself.
    fn string(&mut self, what: &str) -> Result<Vec<u8>> {
        let mut buf = Vec::new();
        self.string_into(what, &mut buf)?;
        Ok(buf)
    }

    /// Reads a string in place of what `buf` holds.
    fn string_into(&mut self, what: &str, buf: &mut Vec<u8>) -> Result<()> {
        let n = limit(self.u64()?, MAX_STRING, || what.to_owned())?;
        buf.clear();
        let got = (&mut self.inner).take(n).read_to_end(buf)?;
        self.read += got as u64;
        if got as u64 != n {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    fn name(&mut self, what: &str) -> Result<String> {
        let bytes = self.string(what)?;
        String::from_utf8(bytes).map_err(|_| ReadError::Utf8(what.to_owned()))
    }

    fn value(&mut self, ty: u32, key: &str) -> Result<Value> {
        Ok(match ty {
            0 => Value::U8(u8::from_le_bytes(self.bytes()?)),
            1 => Value::I8(i8::from_le_bytes(self.bytes()?)),
            2 => Value::U16(u16::from_le_bytes(self.bytes()?)),
            3 => Value::I16(i16::from_le_bytes(self.bytes()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.bytes()?)),
            6 => Value::F32(f32::from_le_bytes(self.bytes()?)),
            7 => Value::Bool(self.bytes::<1>()?[0] != 0),
            8 => Value::String(self.name(key)?),
            9 => Value::Array(self.array(key)?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.bytes()?)),
            12 => Value::F64(f64::from_le_bytes(self.bytes()?)),
            id => return Err(ReadError::UnknownType { what: key.to_owned(), id }),
        })
    }

    fn array(&mut self, key: &str) -> Result<Array> {
        let ty = self.u32()?;
        let n = limit(self.u64()?, MAX_ARRAY, || key.to_owned())?;
        macro_rules! items {
            ($read:expr) => {{
                let mut items = Vec::with_capacity(n.min(1 << 16) as usize);
                for _ in 0..n {
                    items.push($read);
                }
                items
            }};
        }
        Ok(match ty {
            0 => Array::U8(items!(u8::from_le_bytes(self.bytes()?))),
            1 => Array::I8(items!(i8::from_le_bytes(self.bytes()?))),
            2 => Array::U16(items!(u16::from_le_bytes(self.bytes()?))),
            3 => Array::I16(items!(i16::from_le_bytes(self.bytes()?))),
            4 => Array::U32(items!(self.u32()?)),
            5 => Array::I32(items!(i32::from_le_bytes(self.bytes()?))),
            6 => Array::F32(items!(f32::from_le_bytes(self.bytes()?))),
            7 => Array::Bool(items!(self.bytes::<1>()?[0] != 0)),
            8 => {
                let (mut strings, mut string) = (Strings::new(), Vec::new());
                for _ in 0..n {
                    self.string_into(key, &mut string)?;
                    strings.push(&string);
                }
                Array::String(strings)
            }
            10 => Array::U64(items!(self.u64()?)),
            11 => Array::I64(items!(i64::from_le_bytes(self.bytes()?))),
            12 => Array::F64(items!(f64::from_le_bytes(self.bytes()?))),
            id => return Err(ReadError::UnknownType { what: key.to_owned(), id }),
        })
    }
}

//! What stands before the weights: metadata, then a line for each tensor, then padding.

use super::types::GgmlType;
use super::value::{Array, Metadata, Value};

/// Alignment of each tensor's bytes, unless `general.alignment` says otherwise.
pub const ALIGNMENT: u64 = 32;

/// `n` rounded up to a multiple of `alignment`.
pub const fn pad(n: u64, alignment: u64) -> u64 {
    n.div_ceil(alignment) * alignment
}

/// One tensor's line in the header.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Name, at most 64 bytes in the reference's reader.
    pub name: String,
    /// Extents in ggml's order: the row length first. One to four of them.
    pub shape: Vec<u64>,
    /// How the values are stored.
    pub ty: GgmlType,
    /// Bytes from the start of the data section.
    pub offset: u64,
}

impl TensorInfo {
    /// Number of values.
    pub fn values(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Bytes of the tensor, without padding.
    ///
    /// # Panics
    /// If the row length is no multiple of the type's block; readers and planners check that first.
    pub fn bytes(&self) -> u64 {
        self.ty.bytes_of(self.values()).expect("row length checked against the block size")
    }
}

/// A file's whole header. Written, it is all bytes before the data section, padding included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// Key and value pairs, in file order.
    pub metadata: Metadata,
    /// The tensors, in file order.
    pub tensors: Vec<TensorInfo>,
}

impl Header {
    /// A header whose tensors follow each other in the given order; offsets are computed.
    ///
    /// # Panics
    /// If a row length is no multiple of its type's block.
    pub fn new(metadata: Metadata, tensors: impl IntoIterator<Item = (String, Vec<u64>, GgmlType)>) -> Self {
        let mut header = Header { metadata, tensors: Vec::new() };
        let alignment = header.alignment();
        let mut offset = 0;
        for (name, shape, ty) in tensors {
            let info = TensorInfo { name, shape, ty, offset };
            offset += pad(info.bytes(), alignment);
            header.tensors.push(info);
        }
        header
    }

    /// Alignment of the data section and of each tensor in it.
    pub fn alignment(&self) -> u64 {
        match self.metadata.get("general.alignment").and_then(Value::as_u64) {
            Some(n) if n.is_power_of_two() => n,
            _ => ALIGNMENT,
        }
    }

    /// Bytes of the data section, the last tensor's padding included.
    pub fn data_bytes(&self) -> u64 {
        let alignment = self.alignment();
        self.tensors.iter().map(|t| pad(t.bytes(), alignment)).sum()
    }

    /// The bytes before the data section, padded to the alignment.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.byte_len() as usize);
        self.encode(&mut |bytes| out.extend_from_slice(bytes));
        out.resize(pad(out.len() as u64, self.alignment()) as usize, 0);
        out
    }

    /// How many they are, without making them.
    pub fn byte_len(&self) -> u64 {
        let mut len = 0;
        self.encode(&mut |bytes| len += bytes.len() as u64);
        pad(len, self.alignment())
    }

    /// Gives the bytes piece by piece, but for the padding.
    fn encode(&self, put: &mut impl FnMut(&[u8])) {
        put(super::MAGIC);
        put(&3u32.to_le_bytes());
        put(&(self.tensors.len() as u64).to_le_bytes());
        put(&(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in self.metadata.iter() {
            string(put, key.as_bytes());
            put(&type_id(value).to_le_bytes());
            write_value(put, value);
        }
        for t in &self.tensors {
            string(put, t.name.as_bytes());
            put(&(t.shape.len() as u32).to_le_bytes());
            for n in &t.shape {
                put(&n.to_le_bytes());
            }
            put(&t.ty.id().to_le_bytes());
            put(&t.offset.to_le_bytes());
        }
    }
}

fn string(put: &mut impl FnMut(&[u8]), s: &[u8]) {
    put(&(s.len() as u64).to_le_bytes());
    put(s);
}

fn type_id(value: &Value) -> u32 {
    match value {
        Value::U8(_) => 0,
        Value::I8(_) => 1,
        Value::U16(_) => 2,
        Value::I16(_) => 3,
        Value::U32(_) => 4,
        Value::I32(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::String(_) => 8,
        Value::Array(_) => 9,
        Value::U64(_) => 10,
        Value::I64(_) => 11,
        Value::F64(_) => 12,
    }
}

fn write_value(put: &mut impl FnMut(&[u8]), value: &Value) {
    match value {
        Value::U8(v) => put(&[*v]),
        Value::I8(v) => put(&v.to_le_bytes()),
        Value::U16(v) => put(&v.to_le_bytes()),
        Value::I16(v) => put(&v.to_le_bytes()),
        Value::U32(v) => put(&v.to_le_bytes()),
        Value::I32(v) => put(&v.to_le_bytes()),
        Value::F32(v) => put(&v.to_le_bytes()),
        Value::Bool(v) => put(&[u8::from(*v)]),
        Value::String(v) => string(put, v.as_bytes()),
        Value::U64(v) => put(&v.to_le_bytes()),
        Value::I64(v) => put(&v.to_le_bytes()),
        Value::F64(v) => put(&v.to_le_bytes()),
        Value::Array(a) => write_array(put, a),
    }
}

fn write_array(put: &mut impl FnMut(&[u8]), array: &Array) {
    macro_rules! items {
        ($id:literal, $items:expr, $v:ident => $write:expr) => {{
            put(&u32::to_le_bytes($id));
            put(&($items.len() as u64).to_le_bytes());
            for $v in $items {
                $write;
            }
        }};
    }
    match array {
        Array::U8(a) => items!(0, a, v => put(&[*v])),
        Array::I8(a) => items!(1, a, v => put(&v.to_le_bytes())),
        Array::U16(a) => items!(2, a, v => put(&v.to_le_bytes())),
        Array::I16(a) => items!(3, a, v => put(&v.to_le_bytes())),
        Array::U32(a) => items!(4, a, v => put(&v.to_le_bytes())),
        Array::I32(a) => items!(5, a, v => put(&v.to_le_bytes())),
        Array::F32(a) => items!(6, a, v => put(&v.to_le_bytes())),
        Array::Bool(a) => items!(7, a, v => put(&[u8::from(*v)])),
        Array::String(a) => {
            put(&u32::to_le_bytes(8));
            put(&(a.len() as u64).to_le_bytes());
            put(a.wire());
        }
        Array::U64(a) => items!(10, a, v => put(&v.to_le_bytes())),
        Array::I64(a) => items!(11, a, v => put(&v.to_le_bytes())),
        Array::F64(a) => items!(12, a, v => put(&v.to_le_bytes())),
    }
}

//! Cutting an output into several files, at tensor boundaries.
//!
//! In: a layout and a limit. Out: the header of each file; the weights stay in their order, so the one pass writes file
//! after file. The reference has three ways with their own rules: `llama-gguf-split --split`, the converter's
//! `--split-max-size` and `llama-quantize --keep-split`. Sources: `split_strategy` in
//! `tools/gguf-split/gguf-split.cpp`, `GGUFWriter` in `gguf-py/gguf/gguf_writer.py`, `llama_model_quantize_impl` in
//! `src/llama-quant.cpp`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::layout::{Layout, SPLIT_KEYS};
use crate::config::Split;
use crate::convert::{Blueprint, Recipe};
use crate::gguf::{ALIGNMENT, Header, Metadata, TensorInfo, pad};

/// One file of an output that is split.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its header. The first file's has the metadata.
    pub header: Header,
    /// Number of its first tensor in the whole output.
    pub first: usize,
    header_bytes: u64,
}

impl Part {
    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.header_bytes + self.header.data_bytes()
    }
}

/// Why an output cannot be split.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SplitError {
    /// The first tensor does not fit, so that the first file would have none. The reference refuses that, too.
    #[error("tensor `{tensor}` has {bytes} bytes, which is more than a file may hold")]
    FirstTensor {
        /// The tensor.
        tensor: String,
        /// Its bytes with padding.
        bytes: u64,
    },
    /// More files than the metadata can count.
    #[error("{0} files are more than a split can have")]
    TooMany(usize),
    /// A file of the input of which nothing is left.
    #[error("file {0} of the input would be left without tensors")]
    Empty(usize),
}

/// As `llama-gguf-split --split` cuts the whole file. A tensor that is larger than the limit has a file of its own.
///
/// # Errors
/// [`SplitError`].
pub fn split(layout: &Layout, limit: Split) -> Result<Vec<Part>, SplitError> {
    let tensors = &layout.header.tensors;
    // Always this alignment, whatever the metadata says.
    let bytes = |t: &TensorInfo| pad(t.bytes(), ALIGNMENT);
    let (mut ranges, mut start, mut size) = (Vec::new(), 0, 0);
    for (i, tensor) in tensors.iter().enumerate() {
        let full = match limit {
            Split::Size(most) => size + bytes(tensor) > most,
            Split::Tensors(most) => i > 0 && (i as u64).is_multiple_of(u64::from(most)),
        };
        if full {
            if i == 0 {
                return Err(SplitError::FirstTensor { tensor: tensor.name.clone(), bytes: bytes(tensor) });
            }
            ranges.push(start..i);
            (start, size) = (i, 0);
        }
        size += bytes(tensor);
    }
    ranges.push(start..tensors.len());
    // The count is set twice and so comes last.
    parts(layout, &ranges, [SPLIT_KEYS[0], SPLIT_KEYS[2], SPLIT_KEYS[1]])
}

/// As the converter splits what it writes: sizes without padding, and one file is no split (`None`).
///
/// # Errors
/// [`SplitError`].
pub fn split_converted(layout: &Layout, limit: Split) -> Result<Option<Vec<Part>>, SplitError> {
    let tensors = &layout.header.tensors;
    let (mut ranges, mut start, mut size) = (Vec::new(), 0, 0);
    for (i, tensor) in tensors.iter().enumerate() {
        let full = match limit {
            Split::Size(most) => size + tensor.bytes() > most,
            Split::Tensors(most) => (i - start) as u64 >= u64::from(most),
        };
        if full && i > start {
            ranges.push(start..i);
            (start, size) = (i, 0);
        }
        size += tensor.bytes();
    }
    if start == 0 {
        return Ok(None);
    }
    ranges.push(start..tensors.len());
    parts(layout, &ranges, SPLIT_KEYS).map(Some)
}

/// As `llama-quantize --keep-split`: each tensor in the file of its number. The layout was made with
/// [`Options::keep_split`](super::Options::keep_split), so the tensors are in the order of the input's files.
///
/// # Errors
/// [`SplitError`].
pub fn keep(layout: &Layout, blueprint: &Blueprint) -> Result<Vec<Part>, SplitError> {
    let files: Vec<usize> =
        layout.recipes.iter().map(|recipe| place(&blueprint.tensors[*recipe].source).0).collect();
    let count = files.last().map_or(1, |last| last + 1);
    let mut ranges = Vec::with_capacity(count);
    for file in 0..count {
        let (start, end) = (files.partition_point(|f| *f < file), files.partition_point(|f| *f <= file));
        if start == end {
            return Err(SplitError::Empty(file + 1));
        }
        ranges.push(start..end);
    }
    if count == 1 {
        // A split of one file keeps its name, but has no keys.
        let header = layout.header.clone();
        return Ok(vec![Part { header, first: 0, header_bytes: layout.header_bytes() }]);
    }
    parts(layout, &ranges, SPLIT_KEYS)
}

/// File and place of a tensor in the input.
pub(super) fn place(recipe: &Recipe) -> (usize, u64) {
    match recipe {
        Recipe::Rows { parts, .. } => parts.first().map_or((0, 0), |p| (p.shard, p.offset)),
        Recipe::Values(_) => (0, 0),
    }
}

fn parts(layout: &Layout, ranges: &[Range<usize>], keys: [&str; 3]) -> Result<Vec<Part>, SplitError> {
    let count = u16::try_from(ranges.len()).map_err(|_| SplitError::TooMany(ranges.len()))?;
    let total = layout.header.tensors.len() as i32;
    let part = |(number, range): (u16, &Range<usize>)| {
        let mut metadata = if number == 0 { layout.header.metadata.clone() } else { Metadata::new() };
        for key in keys {
            if key == SPLIT_KEYS[2] {
                metadata.set_last(key, total);
            } else {
                metadata.set_last(key, if key == SPLIT_KEYS[0] { number } else { count });
            }
        }
        let tensors = layout.header.tensors[range.clone()].iter();
        let header = Header::new(metadata, tensors.map(|t| (t.name.clone(), t.shape.clone(), t.ty)));
        let header_bytes = header.byte_len();
        Part { header, first: range.start, header_bytes }
    };
    Ok((0..count).zip(ranges).map(part).collect())
}

/// The name of file `number` (from 0) of `count`: `whole` without `.gguf`, then `-00001-of-00003.gguf`
/// (`llama_split_path`).
pub fn part_path(whole: &Path, number: usize, count: usize) -> PathBuf {
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".gguf").unwrap_or(&name);
    whole.with_file_name(format!("{stem}-{:05}-of-{count:05}.gguf", number + 1))
}

/// Whether `path` is `whole`, or a file of it by name where it is split into however many.
pub fn is_of_split(path: &Path, whole: &Path) -> bool {
    let numbers = |path: &Path| {
        let name = path.file_stem()?.to_str()?;
        let (name, count) = name.rsplit_once("-of-")?;
        Some((name.rsplit_once('-')?.1.parse().ok()?, count.parse().ok()?))
    };
    let named = |(number, count): (usize, usize)| number > 0 && path == part_path(whole, number - 1, count);
    path == whole || numbers(path).is_some_and(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::GgmlType;

    fn layout(rows: &[u64]) -> Layout {
        let tensors = rows.iter().enumerate().map(|(i, n)| (format!("t{i}"), vec![8, *n], GgmlType::F32));
        Layout::new(Metadata::new(), tensors.collect::<Vec<_>>(), (0..rows.len()).collect(), Vec::new())
    }

    /// Tensors of each file.
    fn counts(parts: &[Part]) -> Vec<usize> {
        parts.iter().map(|p| p.header.tensors.len()).collect()
    }

    #[test]
    fn a_tensor_beyond_the_limit_has_a_file_of_its_own_unless_it_is_the_first() {
        let cut = |rows: &[u64], most| split(&layout(rows), Split::Size(most)).map(|p| counts(&p));
        assert_eq!(cut(&[1, 9, 1, 1, 1], 64), Ok(vec![1, 1, 2, 1]));
        let tensor = "t0".to_owned();
        assert_eq!(cut(&[9, 1], 64), Err(SplitError::FirstTensor { tensor, bytes: 288 }));
        let converted = split_converted(&layout(&[9, 1]), Split::Size(64)).unwrap().unwrap();
        assert_eq!(counts(&converted), [1, 1]);
    }

    #[test]
    fn files_are_counted_in_16_bits() {
        let rows = vec![1; 65_536];
        assert_eq!(split(&layout(&rows), Split::Tensors(1)), Err(SplitError::TooMany(65_536)));
        assert_eq!(split(&layout(&rows[1..]), Split::Tensors(1)).map(|p| p.len()), Ok(65_535));
    }

    #[test]
    fn names_are_those_of_llama_split_path() {
        let name = |whole: &str| part_path(Path::new(whole), 1, 12);
        assert_eq!(name("a/x.gguf"), Path::new("a/x-00002-of-00012.gguf"));
        assert_eq!(name("x-q4.k"), Path::new("x-q4.k-00002-of-00012.gguf"));
    }

    #[test]
    fn files_of_a_split_are_known_by_name() {
        let is = |path: &str| is_of_split(Path::new(path), Path::new("a/x.gguf"));
        assert!(is("a/x.gguf") && is("a/x-00002-of-00012.gguf") && is("a/x-00001-of-00001.gguf"));
        for other in
            ["x.gguf", "a/y.gguf", "a/x-2-of-12.gguf", "a/x-00000-of-00012.gguf", "a/x-00002-of-00012.txt"]
        {
            assert!(!is(other), "{other}");
        }
    }
}

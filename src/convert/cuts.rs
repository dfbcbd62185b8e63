//! Tensors whose parts are no runs of their rows: transposed ones, rows that take turns, rows of heads, groups of
//! heads.
//!
//! In: how a family's tensor is put together, and its shape. Out: for each part the values that it has, by their places.

use super::blueprint::tiles;
use super::source::Source;
use super::tensors::{Rows, misfit};
use super::{ConvertError as E, RowOrder, Strides};
use crate::arch::{By, Cut, Dimensions, Extent, Hparams, Tensor, Tiled};

/// What the tensor becomes, in the order of [`Cut::into`].
pub(super) fn pieces(
    cut: &Cut,
    source: &Source<'_>,
    bias: bool,
    dimensions: &Dimensions,
    h: &Hparams,
) -> Result<Vec<Rows>, E> {
    let count = cut.into.len() as u64;
    // Blocks of MXFP4 stand as they will, whatever the values that they were made of.
    let transposed = cut.transposed && !bias && !source.is_microscaled();
    let (outer, rows, columns) = match (&*source.shape, bias) {
        ([outer @ .., rows], true) => (outer, *rows, 1),
        ([outer @ .., columns, rows], false) if transposed => (outer, *rows, *columns),
        ([outer @ .., rows, columns], false) => (outer, *rows, *columns),
        _ => return Err(misfit(source, "a matrix".to_owned())),
    };
    let matrices: u64 = outer.iter().product();
    let shape = |rows: u64| -> Vec<u64> {
        let row = if bias { &[][..] } else { &[columns] };
        [outer, &[rows], row].concat()
    };
    match &cut.by {
        By::Runs | By::Turns => {
            if !rows.is_multiple_of(count) {
                return Err(misfit(source, format!("rows of {count} tensors")));
            }
            let turns = matches!(cut.by, By::Turns);
            let each = rows / count;
            let piece = |n: u64| {
                // The first row, and from one to the next.
                let (first, step) = if turns { (n, count) } else { (n * each, 1) };
                let of_each = |row: u64| (0..matrices).map(|m| m * rows * columns + row).collect();
                let (starts, strides) = match (bias, transposed) {
                    // A row of its own, in each matrix a value.
                    (true, _) => (vec![first], Strides { row: rows, column: step }),
                    (false, true) => (of_each(first), Strides { row: step, column: rows }),
                    (false, false) => (of_each(first * columns), Strides { row: step * columns, column: 1 }),
                };
                let order = Some(RowOrder::Natural);
                Rows { shape: shape(each), starts, strides: Some(strides), order }
            };
            Ok((0..count).map(piece).collect())
        }
        By::KeyHeads(parts) => {
            let known = |extent: Extent| extent.of(dimensions);
            let widths: Option<Vec<u64>> = parts.iter().map(|(extent, _)| known(*extent)).collect();
            let (Some(widths), Some(heads), false, 1) = (widths, dimensions.key_heads, bias, matrices) else {
                return Err(misfit(source, "rows of heads whose widths `config.json` states".to_owned()));
            };
            let head =
                widths.iter().try_fold(0u64, |head, width| head.checked_add(*width)).unwrap_or(u64::MAX);
            if head.checked_mul(heads) != Some(rows) || widths.contains(&0) {
                return Err(misfit(source, format!("{heads} heads of {head} rows")));
            }
            let mut before = 0;
            let piece = |(width, (_, transposed)): (u64, &(Extent, bool))| {
                let starts = (0..heads).map(|n| (n * head + before) * columns).collect();
                before += width;
                let rows = match transposed {
                    true => Rows {
                        strides: Some(Strides { row: 1, column: columns }),
                        ..Rows::whole(vec![heads, columns, width])
                    },
                    false => Rows::whole(vec![heads, width, columns]),
                };
                Rows { starts, order: Some(RowOrder::Natural), ..rows }
            };
            Ok(widths.into_iter().zip(*parts).map(piece).collect())
        }
        By::LinearKeys(parts) => {
            let widths: Option<Vec<u64>> = parts.iter().map(|extent| extent.of(dimensions)).collect();
            let (Some(widths), Some(linear), false, 1) = (widths, dimensions.linear, bias, matrices) else {
                return Err(misfit(source, "rows of keys whose widths `config.json` states".to_owned()));
            };
            let of_a_key: u64 = widths.iter().sum();
            if of_a_key.checked_mul(linear.keys) != Some(rows) {
                return Err(misfit(source, format!("{} keys of {of_a_key} rows", linear.keys)));
            }
            let mut before = 0;
            let mut blocks: Vec<(Tensor, Vec<Block>)> = Vec::new();
            for (into, width) in cut.into.iter().zip(widths) {
                let own = (0..linear.keys).map(|key| Block { start: key * of_a_key + before, rows: width });
                match blocks.last_mut().filter(|(last, _)| last == into) {
                    Some((_, together)) => together.extend(own),
                    None => blocks.push((*into, own.collect())),
                }
                before += width;
            }
            Ok(blocks.iter().map(|(_, blocks)| of_blocks(blocks, columns, vec![columns])).collect())
        }
        By::Groups { heads, rope } => {
            let (query, key) = heads(h)?;
            let (query, key) = (u64::from(query), u64::from(key));
            let all = query + 2 * key;
            let head = rows / all.max(1);
            let width = dimensions.embedding.filter(|_| !bias);
            let fits = key > 0
                && head > 0
                && matrices == 1
                && query.is_multiple_of(key)
                && rows == head * all
                && width.is_none_or(|width| columns == width && head * query == width)
                && (head.is_multiple_of(2) || !rope);
            if !fits {
                let expected = format!("rows of {query} query heads and {key} key and value heads");
                return Err(misfit(source, expected));
            }
            let piece = |heads: Vec<u64>, rope: bool| Rows {
                starts: heads.iter().map(|number| number * head * columns).collect(),
                order: Some(if rope { RowOrder::Rope { heads: 1 } } else { RowOrder::Natural }),
                ..Rows::whole(shape(heads.len() as u64 * head))
            };
            let heads = groups(query, key);
            match cut.into {
                [_] => Ok(vec![piece(heads.concat(), false)]),
                _ => {
                    Ok(heads.into_iter().zip([*rope, *rope, false]).map(|(h, rope)| piece(h, rope)).collect())
                }
            }
        }
    }
}

/// What the tensor's pieces become: [`Cut::into`], but for neighbours that stay together.
pub(super) fn into(cut: &Cut) -> Vec<Tensor> {
    let mut into = cut.into.to_vec();
    if matches!(cut.by, By::LinearKeys(_)) {
        into.dedup();
    }
    into
}

/// Numbers of the query heads, key heads and value heads among all heads of a tensor in groups. `query` is a multiple of
/// `key`.
fn groups(query: u64, key: u64) -> [Vec<u64>; 3] {
    let each = query / key;
    let group = each + 2;
    [
        (0..query).map(|head| head / each * group + head % each).collect(),
        (0..key).map(|head| head * group + each).collect(),
        (0..key).map(|head| head * group + each + 1).collect(),
    ]
}

/// Rows that follow one another in the source.
#[derive(Clone, Copy)]
struct Block {
    start: u64,
    rows: u64,
}

/// Blocks of rows of `values` values, in parts of the same size; `inner` are the extents of a row.
fn of_blocks(blocks: &[Block], values: u64, inner: Vec<u64>) -> Rows {
    let part = blocks.iter().fold(0, |part, block| common_divisor(part, block.rows)).max(1);
    let parts = |block: &Block| {
        let start = block.start;
        (0..block.rows / part).map(move |n| (start + n * part) * values)
    };
    let rows = blocks.iter().map(|block| block.rows).sum();
    let starts = blocks.iter().flat_map(parts).collect();
    Rows { starts, order: Some(RowOrder::Natural), ..Rows::whole([vec![rows], inner].concat()) }
}

pub(super) fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// All of a tensor of shape `shape`, its values of a linear attention in tiles.
pub(super) fn tiled(
    tiled: Tiled,
    source: &Source<'_>,
    shape: Vec<u64>,
    dimensions: &Dimensions,
) -> Result<Rows, E> {
    let Some(linear) = dimensions.linear else {
        return Err(misfit(source, "one of heads that `config.json` states".to_owned()));
    };
    let each = linear.values_of_a_key();
    if each == 1 {
        return Ok(Rows::whole(shape));
    }
    let rows = shape[0];
    let (before, width) = match tiled {
        Tiled::Columns => {
            if shape.last() != Some(&(linear.values * linear.value)) {
                return Err(misfit(source, format!("columns of {} values", linear.values)));
            }
            let order = Some(RowOrder::TiledColumns { groups: linear.keys, each });
            return Ok(Rows { order, ..Rows::whole(shape) });
        }
        Tiled::Rows => (0, linear.value),
        Tiled::RowsAfterKeys => (2 * linear.keys * linear.key, linear.value),
        Tiled::Row => (0, 1),
    };
    if before + linear.values * width != rows {
        return Err(misfit(source, format!("rows of {} values", linear.values)));
    }
    let first = (before > 0).then_some(Block { start: 0, rows: before });
    let values = tiles(linear.keys, each).map(|n| Block { start: before + n * width, rows: width });
    let blocks: Vec<Block> = first.into_iter().chain(values).collect();
    let inner = shape[1..].to_vec();
    Ok(of_blocks(&blocks, inner.iter().product(), inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::LinearHeads;
    use crate::checkpoint::{Dtype, SourceTensor, TensorEntry};

    /// Extents, starts and strides of each piece.
    type Piece = (Vec<u64>, Vec<u64>, Option<(u64, u64)>);

    #[track_caller]
    fn check(cut: &Cut, shape: &[u64], bias: bool, expected: Option<&[Piece]>) {
        let entry =
            TensorEntry { name: "x".to_owned(), dtype: Dtype::F32, shape: shape.to_vec(), range: 0..0 };
        let tensor = SourceTensor { shard: 0, entry };
        let source = Source { name: "x".to_owned(), shape: shape.to_vec(), coding: None, tensor: &tensor };
        let linear = Some(LinearHeads { keys: 2, values: 4, key: 2, value: 3 });
        let dimensions = Dimensions {
            key_heads: Some(2),
            nope: Some(4),
            value_head: Some(3),
            linear,
            ..Dimensions::default()
        };
        let h = Hparams::new(serde_json::Map::new());
        let found = pieces(cut, &source, bias, &dimensions, &h).ok();
        let found: Option<Vec<Piece>> = found.map(|pieces| {
            pieces.into_iter().map(|r| (r.shape, r.starts, r.strides.map(|s| (s.row, s.column)))).collect()
        });
        assert_eq!(found.as_deref(), expected);
    }

    const TWO: &[Tensor] = &[Tensor::FfnGateExps, Tensor::FfnUpExps];

    #[test]
    fn rows_run_or_take_turns_in_every_matrix() {
        let cut = |by, transposed| Cut { name: "x", transposed, by, into: TWO };
        let starts = |row: u64| vec![row, 48 + row];
        check(
            &cut(By::Runs, false),
            &[2, 6, 8],
            false,
            Some(&[(vec![2, 3, 8], starts(0), Some((8, 1))), (vec![2, 3, 8], starts(24), Some((8, 1)))]),
        );
        check(
            &cut(By::Turns, false),
            &[2, 6, 8],
            false,
            Some(&[(vec![2, 3, 8], starts(0), Some((16, 1))), (vec![2, 3, 8], starts(8), Some((16, 1)))]),
        );
        check(
            &cut(By::Runs, true),
            &[2, 8, 6],
            false,
            Some(&[(vec![2, 3, 8], starts(0), Some((1, 6))), (vec![2, 3, 8], starts(3), Some((1, 6)))]),
        );
        check(
            &cut(By::Turns, true),
            &[2, 8, 6],
            false,
            Some(&[(vec![2, 3, 8], starts(0), Some((2, 6))), (vec![2, 3, 8], starts(1), Some((2, 6)))]),
        );
        check(
            &cut(By::Turns, true),
            &[2, 6],
            true,
            Some(&[(vec![2, 3], vec![0], Some((6, 2))), (vec![2, 3], vec![1], Some((6, 2)))]),
        );
        check(&cut(By::Turns, true), &[2, 8, 5], false, None);
    }

    #[test]
    fn heads_have_parts_of_their_own_width() {
        let by = By::KeyHeads(&[(Extent::Nope, true), (Extent::ValueHead, false)]);
        let cut = Cut { name: "x", transposed: false, by, into: &[Tensor::AttnKB, Tensor::AttnVB] };
        check(
            &cut,
            &[14, 5],
            false,
            Some(&[(vec![2, 5, 4], vec![0, 35], Some((1, 5))), (vec![2, 3, 5], vec![20, 55], None)]),
        );
        check(&cut, &[13, 5], false, None);
    }

    #[test]
    fn rows_of_linear_keys_come_together() {
        let by = By::LinearKeys(&[
            Extent::LinearKey,
            Extent::LinearKey,
            Extent::LinearValues,
            Extent::LinearValues,
        ]);
        let into = &[Tensor::AttnQkv, Tensor::AttnQkv, Tensor::AttnQkv, Tensor::AttnGate];
        let cut = Cut { name: "x", transposed: false, by, into };
        assert_eq!(super::into(&cut), [Tensor::AttnQkv, Tensor::AttnGate]);
        // Of each of two keys: 2 rows of a query, 2 of a key, 6 of two values, 6 of two gates.
        let rows = |starts: &[u64]| starts.iter().map(|row| row * 5).collect::<Vec<u64>>();
        check(
            &cut,
            &[32, 5],
            false,
            Some(&[
                (vec![20, 5], rows(&[0, 16, 2, 18, 4, 6, 8, 20, 22, 24]), None),
                (vec![12, 5], rows(&[10, 26]), None),
            ]),
        );
        check(&cut, &[30, 5], false, None);
    }

    #[test]
    fn each_group_has_its_queries_then_its_key_and_value() {
        // As many keys as queries: Bloom, GPT-NeoX.
        assert_eq!(groups(3, 3), [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5, 8]]);
        // Falcon, InternLM 2.
        assert_eq!(groups(4, 2), [vec![0, 1, 4, 5], vec![2, 6], vec![3, 7]]);
        assert_eq!(groups(2, 1), [vec![0, 1], vec![2], vec![3]]);
        let by = By::Groups { heads: |_| Ok((2, 1)), rope: false };
        let into = &[Tensor::AttnQ, Tensor::AttnK, Tensor::AttnV];
        let cut = Cut { name: "x", transposed: false, by, into };
        let rows = |shape: &[u64], starts: &[u64]| (shape.to_vec(), starts.to_vec(), None);
        let expected = [rows(&[4, 5], &[0, 10]), rows(&[2, 5], &[20]), rows(&[2, 5], &[30])];
        check(&cut, &[8, 5], false, Some(&expected));
        check(&cut, &[8], true, Some(&[rows(&[4], &[0, 2]), rows(&[2], &[4]), rows(&[2], &[6])]));
        check(
            &Cut { into: &[Tensor::AttnQkv], ..cut },
            &[8, 5],
            false,
            Some(&[rows(&[8, 5], &[0, 10, 20, 30])]),
        );
        check(&cut, &[9, 5], false, None);
    }

    #[test]
    fn values_of_a_linear_attention_come_in_tiles() {
        let entry = TensorEntry { name: "x".to_owned(), dtype: Dtype::F32, shape: vec![], range: 0..0 };
        let tensor = SourceTensor { shard: 0, entry };
        let source = Source { name: "x".to_owned(), shape: vec![], coding: None, tensor: &tensor };
        let linear = Some(LinearHeads { keys: 2, values: 4, key: 3, value: 3 });
        let dimensions = Dimensions { linear, ..Dimensions::default() };
        let of = |tiled_as, shape: &[u64]| {
            let rows = tiled(tiled_as, &source, shape.to_vec(), &dimensions).ok()?;
            Some((rows.starts, rows.order))
        };
        let natural = Some(RowOrder::Natural);
        assert_eq!(of(Tiled::Rows, &[12, 5]), Some((vec![0, 30, 15, 45], natural)));
        assert_eq!(of(Tiled::Row, &[4]), Some((vec![0, 2, 1, 3], natural)));
        assert_eq!(of(Tiled::RowsAfterKeys, &[24, 2]), Some((vec![0, 6, 12, 18, 24, 36, 30, 42], natural)));
        let columns = Some(RowOrder::TiledColumns { groups: 2, each: 2 });
        assert_eq!(of(Tiled::Columns, &[7, 12]), Some((vec![0], columns)));
        assert_eq!(of(Tiled::Rows, &[13, 5]), None);
    }
}

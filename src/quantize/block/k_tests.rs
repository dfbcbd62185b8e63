//! Tests of the K-quants: one block at a time in plain scalar code, which is the definition, against the wide kernels
//! at every level; and answers of the reference.

use super::half::{f16_to_f32, f32_to_f16};
use super::lanes::nearest_int;
use super::testing::{at_every_level, check_defined, check_hashes, quantized, values};
use crate::gguf::GgmlType::{self, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K};
use proptest::prelude::*;

/// Scale, negated minimum, codes.
pub(super) type Affine = (f32, f32, Vec<u8>);

fn codes_of(x: &[f32], inverse: f32, min: f32, top: i32) -> Vec<i32> {
    x.iter().map(|x| nearest_int(inverse * (x - min)).min(top).max(0)).collect()
}

/// `make_qkx2_quants`, `make_qkx3_quants`.
pub(super) fn affine(
    x: &[f32],
    w: &[f32],
    top: i32,
    (start, step, steps): (f32, f32, usize),
    absolute: bool,
) -> Affine {
    let bytes = |codes: &[i32]| codes.iter().map(|&l| l as u8).collect::<Vec<_>>();
    let (mut low, mut high, mut sum_w, mut sum_x) = (x[0], x[0], w[0], w[0] * x[0]);
    for (&x, &w) in x.iter().zip(w).skip(1) {
        low = if x < low { x } else { low };
        high = if x > high { x } else { high };
        sum_w += w;
        sum_x += w * x;
    }
    let mut min = if low > 0.0 { 0.0 } else { low };
    if high == min {
        return (0.0, -min, vec![0; x.len()]);
    }
    let error_of = |codes: &[i32], scale: f32, min: f32| {
        let mut sum = 0.0;
        for ((&l, &x), &w) in codes.iter().zip(x).zip(w) {
            let diff = scale * l as f32 + min - x;
            sum += w * if absolute { diff.abs() } else { diff * diff };
        }
        sum
    };
    let inverse = top as f32 / (high - min);
    let (mut scale, mut codes) = (1.0 / inverse, codes_of(x, inverse, min, top));
    let mut best = error_of(&codes, scale, min);
    for k in 0..=steps {
        let inverse = (start + step * k as f32 + top as f32) / (high - min);
        let these = codes_of(x, inverse, min, top);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0, 0.0, 0.0);
        for ((&l, &x), &w) in these.iter().zip(x).zip(w) {
            let l = l as f32;
            sum_l += w * l;
            sum_l2 += w * l * l;
            sum_xl += w * l * x;
        }
        let d = sum_w * sum_l2 - sum_l * sum_l;
        if d > 0.0 {
            let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / d;
            let mut this_min = (sum_l2 * sum_x - sum_l * sum_xl) / d;
            if this_min > 0.0 {
                (this_scale, this_min) = (sum_xl / sum_l2, 0.0);
            }
            let error = error_of(&these, this_scale, this_min);
            if error < best {
                (best, scale, min, codes) = (error, this_scale, this_min, these);
            }
        }
    }
    (scale, -min, bytes(&codes))
}

fn largest(x: &[f32]) -> f32 {
    let mut max = 0.0_f32;
    for &x in x {
        max = if x.abs() > max.abs() { x } else { max };
    }
    max
}

/// `make_qx_quants` with weights.
pub(super) fn symmetric(x: &[f32], w: &[f32], half: i32) -> (f32, Vec<u8>) {
    let max = largest(x);
    if max.abs() < 1e-15 {
        return (0.0, vec![0; x.len()]);
    }
    let codes_of = |inverse: f32| {
        x.iter().map(|x| nearest_int(inverse * x).min(half - 1).max(-half)).collect::<Vec<_>>()
    };
    let sums = |codes: &[i32]| {
        let (mut lx, mut l2) = (0.0, 0.0);
        for ((&l, &x), &w) in codes.iter().zip(x).zip(w) {
            let l = l as f32;
            lx += w * x * l;
            l2 += w * l * l;
        }
        (lx, l2)
    };
    let mut codes = codes_of(-half as f32 / max);
    let (lx, l2) = sums(&codes);
    let mut scale = if l2 == 0.0 { 0.0 } else { lx / l2 };
    let mut best = scale * lx;
    for k in -9..=9 {
        if k == 0 {
            continue;
        }
        let these = codes_of(-(half as f32 + 0.1 * k as f32) / max);
        let (lx, l2) = sums(&these);
        if l2 > 0.0 && lx * lx > best * l2 {
            scale = lx / l2;
            best = scale * lx;
            codes = these;
        }
    }
    (scale, codes.iter().map(|l| (l + half) as u8).collect())
}

/// `make_q3_quants`.
fn refined(x: &[f32]) -> (f32, Vec<u8>) {
    let max = largest(x);
    if max.abs() < 1e-15 {
        return (0.0, vec![0; x.len()]);
    }
    let within = |v: f32| nearest_int(v).clamp(-4, 3);
    let mut codes: Vec<i32> = x.iter().map(|x| within(-4.0 / max * x)).collect();
    let (mut lx, mut l2) = (0.0, 0.0);
    for (&x, &l) in x.iter().zip(&codes) {
        let (w, l) = (x * x, l as f32);
        lx += w * x * l;
        l2 += w * l * l;
    }
    for _ in 0..5 {
        for (&x, code) in x.iter().zip(&mut codes) {
            let (w, l) = (x * x, *code as f32);
            let (other_lx, other_l2) = (lx - w * x * l, l2 - w * l * l);
            if other_lx > 0.0 {
                let new = within(x * other_l2 / other_lx);
                let (new_lx, new_l2) =
                    (other_lx + w * x * new as f32, other_l2 + w * new as f32 * new as f32);
                if new != *code && new_l2 > 0.0 && new_lx * new_lx * l2 > lx * lx * new_l2 {
                    (*code, lx, l2) = (new, new_lx, new_l2);
                }
            }
        }
    }
    (if l2 > 0.0 { lx / l2 } else { 0.0 }, codes.iter().map(|l| (l + 4) as u8).collect())
}

/// `make_qp_quants`.
fn positive(x: &[f32], w: &[f32], top: i32) -> (f32, Vec<u8>) {
    let mut max = 0.0;
    for &x in x {
        max = if max > x { max } else { x };
    }
    if max < 1e-15 {
        return (0.0, vec![0; x.len()]);
    }
    let error_of = |codes: &[i32], scale: f32| {
        let mut sum = 0.0;
        for ((&l, &x), &w) in codes.iter().zip(x).zip(w) {
            let diff = x - scale * l as f32;
            sum += w * diff * diff;
        }
        sum
    };
    let mut inverse = top as f32 / max;
    let first: Vec<i32> = x.iter().map(|x| nearest_int(inverse * x) & 255).collect();
    let mut best = error_of(&first, 1.0 / inverse);
    for k in (-4..=4).filter(|&k| k != 0) {
        let candidate = (0.1 * k as f32 + top as f32) / max;
        let these: Vec<i32> = x.iter().map(|x| nearest_int(candidate * x).min(top)).collect();
        let error = error_of(&these, 1.0 / candidate);
        if error < best {
            (best, inverse) = (error, candidate);
        }
    }
    let (mut lx, mut l2, mut codes) = (0.0, 0.0, Vec::new());
    for (&x, &w) in x.iter().zip(w) {
        let l = nearest_int(inverse * x).min(top);
        lx += w * x * l as f32;
        l2 += w * l as f32 * l as f32;
        codes.push(l as u8);
    }
    for _ in 0..5 {
        for ((&x, &w), code) in x.iter().zip(w).zip(&mut codes) {
            let l = f32::from(*code);
            let (other_lx, other_l2) = (lx - w * x * l, l2 - w * l * l);
            if other_lx > 0.0 && other_l2 > 0.0 {
                let new = nearest_int(x * other_l2 / other_lx).min(top);
                let (new_lx, new_l2) =
                    (other_lx + w * x * new as f32, other_l2 + w * new as f32 * new as f32);
                if new != i32::from(*code) && new_lx * new_lx * l2 > lx * lx * new_l2 {
                    (*code, lx, l2) = (new as u8, new_lx, new_l2);
                }
            }
        }
    }
    (if l2 > 0.0 { lx / l2 } else { 0.0 }, codes)
}

/// Codes of a block once its scale and minimum are fixed; those of the search where the scale is nothing.
fn final_codes(x: &[f32], scale: f32, min: f32, low: i32, high: i32, searched: &[u8]) -> Vec<u8> {
    if scale == 0.0 {
        return searched.to_vec();
    }
    x.iter().map(|x| (nearest_int((x + min) / scale).min(high).max(low) - low) as u8).collect()
}

/// Four codes of `bits` bits from every 128, 32 apart.
fn crumbs(codes: &[u8]) -> Vec<u8> {
    let of = |codes: &[u8], l: usize| (0..4).fold(0, |byte, i| byte | (codes[l + 32 * i] & 3) << (2 * i));
    codes.chunks(128).flat_map(|codes| (0..32).map(move |l| of(codes, l))).collect()
}

fn mean_square(x: &[f32]) -> f32 {
    let mut sum = 0.0;
    for &x in x {
        sum += x * x;
    }
    sum / x.len() as f32
}

/// Weights of blocks by importance, and their sums.
fn weigh(x: &[f32], importance: &[f32], sigma2: f32, block: usize) -> (Vec<f32>, Vec<f32>) {
    let weights: Vec<f32> = x.iter().zip(importance).map(|(x, w)| w * (sigma2 + x * x).sqrt()).collect();
    let sums = weights.chunks(block).map(|w| w.iter().fold(0.0, |sum, w| sum + w)).collect();
    (weights, sums)
}

fn max_of(x: impl Iterator<Item = f32>) -> f32 {
    x.fold(0.0, |max, x| if x > max { x } else { max })
}

fn q2_k(x: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let (fits, d, dmin, fours): (Vec<Affine>, u16, u16, Vec<u8>);
    if let Some(importance) = importance {
        let (weights, sums) = weigh(x, importance, mean_square(x), 16);
        fits = x
            .chunks(16)
            .zip(weights.chunks(16))
            .map(|(x, w)| affine(x, w, 3, (-0.9, 0.05, 36), false))
            .collect();
        let (scale, s) = positive(&fits.iter().map(|f| f.0).collect::<Vec<_>>(), &sums, 15);
        let (min, m) = positive(&fits.iter().map(|f| f.1).collect::<Vec<_>>(), &sums, 15);
        (d, dmin) = (f32_to_f16(scale), f32_to_f16(min));
        fours = s.iter().zip(&m).map(|(s, m)| s | m << 4).collect();
    } else {
        let weights: Vec<f32> = x.iter().map(|x| x.abs()).collect();
        fits = x
            .chunks(16)
            .zip(weights.chunks(16))
            .map(|(x, w)| affine(x, w, 3, (-0.5, 0.1, 15), true))
            .collect();
        let (scale, min) = (max_of(fits.iter().map(|f| f.0)), max_of(fits.iter().map(|f| f.1)));
        (d, dmin) = (f32_to_f16(scale / 15.0), f32_to_f16(min / 15.0));
        let four = |v: f32, max: f32| if max > 0.0 { nearest_int(15.0 / max * v) } else { 0 };
        fours = fits.iter().map(|f| (four(f.0, scale) | four(f.1, min) << 4) as u8).collect();
    }
    let mut codes = Vec::new();
    for (j, (x, fit)) in x.chunks(16).zip(&fits).enumerate() {
        let scale = f16_to_f32(d) * f32::from(fours[j] & 15);
        let min = f16_to_f32(dmin) * f32::from(fours[j] >> 4);
        codes.extend(final_codes(x, scale, min, 0, 3, &fit.2));
    }
    let mut out = fours;
    out.extend(crumbs(&codes));
    out.extend(d.to_le_bytes());
    out.extend(dmin.to_le_bytes());
    out
}

fn q3_k(x: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let fits: Vec<(f32, Vec<u8>)>;
    let (d, sixes): (u16, Vec<u8>);
    if let Some(importance) = importance {
        let (weights, sums) = weigh(x, importance, 2.0 * mean_square(x), 16);
        fits = x.chunks(16).zip(weights.chunks(16)).map(|(x, w)| symmetric(x, w, 4)).collect();
        let (scale, codes) = symmetric(&fits.iter().map(|f| f.0).collect::<Vec<_>>(), &sums, 32);
        (d, sixes) = (f32_to_f16(scale), codes);
    } else {
        fits = x.chunks(16).map(refined).collect();
        let max = largest(&fits.iter().map(|f| f.0).collect::<Vec<_>>());
        if max != 0.0 {
            let inverse = -32.0 / max;
            let six = |scale: f32| ((nearest_int(inverse * scale) as i8).clamp(-32, 31) + 32) as u8;
            (d, sixes) = (f32_to_f16(1.0 / inverse), fits.iter().map(|f| six(f.0)).collect());
        } else {
            (d, sixes) = (0, vec![0; 16]);
        }
    }
    let mut codes = Vec::new();
    for (j, (x, fit)) in x.chunks(16).zip(&fits).enumerate() {
        let scale = f16_to_f32(d) * f32::from(sixes[j] as i8 - 32);
        codes.extend(final_codes(x, scale, 0.0, -4, 3, &fit.1));
    }
    let mut out: Vec<u8> =
        (0..32).map(|l| (0..8).fold(0, |byte, n| byte | codes[32 * n + l] >> 2 << n)).collect();
    out.extend(crumbs(&codes));
    out.extend((0..8).map(|j| sixes[j] & 15 | sixes[j + 8] << 4));
    out.extend((0..4).map(|j| (0..4).fold(0, |byte, i| byte | sixes[j + 4 * i] >> 4 << (2 * i))));
    out.extend(d.to_le_bytes());
    out
}

fn q45_k(x: &[f32], importance: Option<&[f32]>, top: i32) -> Vec<u8> {
    let (fits, d, dmin, scales, mins): (Vec<Affine>, u16, u16, Vec<u8>, Vec<u8>);
    if let Some(importance) = importance {
        let (weights, sums) = weigh(x, importance, 2.0 * mean_square(x), 32);
        fits = x
            .chunks(32)
            .zip(weights.chunks(32))
            .map(|(x, w)| affine(x, w, top, (-0.9, 0.05, 36), false))
            .collect();
        let (scale, s) = positive(&fits.iter().map(|f| f.0).collect::<Vec<_>>(), &sums, 63);
        let (min, m) = positive(&fits.iter().map(|f| f.1).collect::<Vec<_>>(), &sums, 63);
        (d, dmin, scales, mins) = (f32_to_f16(scale), f32_to_f16(min), s, m);
    } else {
        let grid = if top == 15 { (-1.0, 0.1, 20) } else { (-0.5, 0.1, 15) };
        let fit = |x: &[f32]| {
            let mean = mean_square(x).sqrt();
            affine(x, &x.iter().map(|x| mean + x.abs()).collect::<Vec<_>>(), top, grid, false)
        };
        fits = x.chunks(32).map(fit).collect();
        let (scale, min) = (max_of(fits.iter().map(|f| f.0)), max_of(fits.iter().map(|f| f.1)));
        (d, dmin) = (f32_to_f16(scale / 63.0), f32_to_f16(min / 63.0));
        let six = |v: f32, max: f32| nearest_int(if max > 0.0 { 63.0 / max } else { 0.0 } * v) as u8;
        scales = fits.iter().map(|f| six(f.0, scale)).collect();
        mins = fits.iter().map(|f| six(f.1, min)).collect();
    }
    let (s, m): (Vec<u8>, Vec<u8>) = scales.iter().zip(&mins).map(|(&s, &m)| (s.min(63), m.min(63))).unzip();
    let mut codes = Vec::new();
    for (j, (x, fit)) in x.chunks(32).zip(&fits).enumerate() {
        let (scale, min) = (f16_to_f32(d) * f32::from(s[j]), f16_to_f32(dmin) * f32::from(m[j]));
        codes.extend(final_codes(x, scale, min, 0, top, &fit.2));
    }
    let mut out = [d.to_le_bytes(), dmin.to_le_bytes()].concat();
    out.extend((0..4).map(|j| s[j] | s[j + 4] >> 4 << 6));
    out.extend((0..4).map(|j| m[j] | m[j + 4] >> 4 << 6));
    out.extend((4..8).map(|j| s[j] & 15 | (m[j] & 15) << 4));
    if top == 31 {
        out.extend((0..32).map(|l| (0..8).fold(0, |byte, n| byte | codes[32 * n + l] >> 4 << n)));
    }
    for codes in codes.chunks(64) {
        out.extend((0..32).map(|l| codes[l] & 15 | codes[l + 32] << 4));
    }
    out
}

fn q6_k(x: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let squares: Vec<f32> = x.iter().map(|x| x * x).collect();
    let weights = importance.unwrap_or(&squares);
    let fits: Vec<_> = x.chunks(16).zip(weights.chunks(16)).map(|(x, w)| symmetric(x, w, 32)).collect();
    let max = largest(&fits.iter().map(|f| f.0).collect::<Vec<_>>());
    if max.abs() < 1e-15 {
        return vec![0; 210];
    }
    let inverse = -128.0 / max;
    let d = f32_to_f16(1.0 / inverse);
    let (mut codes, mut eights) = (Vec::new(), Vec::new());
    for (x, fit) in x.chunks(16).zip(&fits) {
        let eight = nearest_int(inverse * fit.0).min(127) as i8;
        eights.push(eight as u8);
        codes.extend(final_codes(x, f16_to_f32(d) * f32::from(eight), 0.0, -32, 31, &fit.1));
    }
    let mut out = Vec::new();
    for codes in codes.chunks(128) {
        out.extend((0..64).map(|l| codes[l] & 15 | codes[l + 64] << 4));
    }
    out.extend(crumbs(&codes.iter().map(|l| l >> 4).collect::<Vec<_>>()));
    out.extend(eights);
    out.extend(d.to_le_bytes());
    out
}

fn define(ty: GgmlType, x: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    match ty {
        Q2_K => q2_k(x, importance),
        Q3_K => q3_k(x, importance),
        Q4_K => q45_k(x, importance, 15),
        Q5_K => q45_k(x, importance, 31),
        Q6_K => q6_k(x, importance),
        _ => unreachable!("no K-quant"),
    }
}

const TYPES: [GgmlType; 5] = [Q2_K, Q3_K, Q4_K, Q5_K, Q6_K];

/// Whole super-blocks of one kind, or with a kind for each block.
fn super_blocks() -> impl Strategy<Value = Vec<f32>> {
    let mixed = prop::collection::vec(values(16), 16).prop_map(|v| v.concat());
    prop::collection::vec(prop_oneof![values(256), mixed], 1..8).prop_map(|v| v.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn wide_kernels_do_as_the_scalar_definition(x in super_blocks()) {
        for ty in TYPES {
            check_defined(ty, &x, |x| define(ty, x, None));
        }
    }

    #[test]
    fn so_they_do_by_importance(x in super_blocks(), w in prop::collection::vec(0.0f32..4.0, 7 * 256)) {
        let w = &w[..x.len()];
        for ty in TYPES {
            let want: Vec<u8> =
                x.chunks(256).zip(w.chunks(256)).flat_map(|(x, w)| define(ty, x, Some(w))).collect();
            at_every_level(|level| assert!(quantized(ty, &x, Some(w)) == want, "{ty} with {level}"));
        }
    }
}

/// Hashes of what `quantize_row_*_ref` and `quantize_*` of llama-cpp-python 0.3.36 (ggml 0.25.3, x86-64, gcc -O3
/// without -march) wrote for `known_row(2560)` and `uneven_row(2560)`, the latter two as two rows by
/// `known_importance(1280)`.
#[test]
fn the_reference_wrote_the_same() {
    let known = [
        (
            Q2_K,
            [
                "af97c09026beddaf98a2a63e47d05eb10f12890c5e1fc34462f7e2ab531bfe9c",
                "3fe4b219fd573233ec9621c032cd7ceffb638b5a0fcff885444403646679d1fd",
                "b88f794caf601656b0b55629eafdde03c2ab249d35edb82133930d05bfa8357e",
                "05488db8691b47528dec48be8f98d3042737d5721ed043b54ab18ebad9f63baf",
            ],
        ),
        (
            Q3_K,
            [
                "20e66d711458ecb5fe4230ceffcae6ce7f3c6e0026448b5e1ac74ba53e78396c",
                "4798d411d4a45262b91d4fd07d81049723612bfefb9b72f3a541650623a5f8cf",
                "94a0e522f41cced587df9cb3b30a5fde2760f03f63886b53ee19038a86365db5",
                "cd40fd6be0549268909ea94c2279506e681ba99a0e727e69fe9edd806bc1e887",
            ],
        ),
        (
            Q4_K,
            [
                "b133e9601cc9a5f3033a924180e1fdc49ec2cd2e8ff871d59ed79de587a506f1",
                "40ec4cd702de1e9dad2e0d86e7a9f2ba98a0106b0a2ce79383a82e65a9307aa7",
                "1d18d7a4fd0a87a93e5a9a29e07f00f0900bd96eba26c7ca6791da3d92ede9f3",
                "023cfdf579102aaee0167dc52cfc7fdc0c5cabf615a03e471e166b7e90de0192",
            ],
        ),
        (
            Q5_K,
            [
                "0300b56387852aeafcdd9b9c0050e5c1656e91eda51257d5238f9c049dbf43d4",
                "db37348f67b91132189ded852475d2d216e5fca8966576367464b9f3ca339a75",
                "420226179fa050fdd6a906daa6652ce0cfa5e5d0af708994df9d0e75cb6fb282",
                "be1753065338da475e08074e2175b87eddbe9c059bc9f19991b9948f3cc51cf4",
            ],
        ),
        (
            Q6_K,
            [
                "5df79d86a4cbab8365753786378152cbf8ba1a9f35b7297013dd9c6da70f8096",
                "6bde92a10b3155f060c84fbbe3ddec57573bf15afb8d033e10bd9beb965fd711",
                "3abe855f8823957adcf1bfaa32f17e70935268f988697c06d3d6d4c93423c895",
                "241189d033562db0f055cff91cb36dd291dcb9f22f2d8408d1361e077c07c556",
            ],
        ),
    ];
    for (ty, want) in known {
        let [known, uneven, known_weighted, uneven_weighted] = want;
        check_hashes(ty, false, [known, uneven]);
        check_hashes(ty, true, [known_weighted, uneven_weighted]);
    }
}

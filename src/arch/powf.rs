//! `powf` with the bits of SLEEF's `Sleef_powf8_u10`, which torch's vectorised `pow` calls on x86-64.
//!
//! It is not correctly rounded, so no other `powf` will do. Method and constants: `xpowf`, `logkf` and `expkf` of
//! SLEEF's `sleefsimdsp.c`: the logarithm as the unevaluated sum of two floats, times the exponent, exponentiated.
//! Arguments here are positive and finite, and so are the results.

/// The unevaluated sum of two floats.
#[derive(Clone, Copy, Debug)]
struct Double {
    hi: f32,
    lo: f32,
}

/// Exact sum of two floats in any order.
fn two_sum(x: f32, y: f32) -> Double {
    let hi = x + y;
    let v = hi - x;
    Double { hi, lo: (x - (hi - v)) + (y - v) }
}

impl Double {
    const fn new(hi: f32, lo: f32) -> Self {
        Double { hi, lo }
    }

    /// Renormalized: `lo` below half a unit in the last place of `hi`.
    fn normal(self) -> Self {
        let hi = self.hi + self.lo;
        Double { hi, lo: self.hi - hi + self.lo }
    }

    fn scaled(self, by: f32) -> Self {
        Double { hi: self.hi * by, lo: self.lo * by }
    }

    /// Sum with a float, whichever is larger.
    fn add_any(self, y: f32) -> Self {
        let s = two_sum(self.hi, y);
        Double { hi: s.hi, lo: s.lo + self.lo }
    }

    /// Sum, whichever is larger.
    fn add2(self, y: Double) -> Self {
        let s = two_sum(self.hi, y.hi);
        Double { hi: s.hi, lo: s.lo + (self.lo + y.lo) }
    }

    /// Sum with one that is no larger.
    fn add(self, y: Double) -> Self {
        let hi = self.hi + y.hi;
        Double { hi, lo: self.hi - hi + y.hi + self.lo + y.lo }
    }

    fn times(self, y: f32) -> Self {
        let hi = self.hi * y;
        Double { hi, lo: self.lo.mul_add(y, self.hi.mul_add(y, -hi)) }
    }

    fn product(self, y: Double) -> Self {
        let hi = self.hi * y.hi;
        Double { hi, lo: self.hi.mul_add(y.lo, self.lo.mul_add(y.hi, self.hi.mul_add(y.hi, -hi))) }
    }

    fn square(self) -> Self {
        let hi = self.hi * self.hi;
        Double { hi, lo: (self.hi + self.hi).mul_add(self.lo, self.hi.mul_add(self.hi, -hi)) }
    }

    fn quotient(self, d: Double) -> Self {
        let t = 1.0 / d.hi;
        let hi = self.hi * t;
        let u = t.mul_add(self.hi, -hi);
        let v = (-d.lo).mul_add(t, (-d.hi).mul_add(t, 1.0));
        Double { hi, lo: hi.mul_add(v, self.lo.mul_add(t, u)) }
    }
}

/// Natural logarithm of a positive normal float.
fn log(d: f32) -> Double {
    // d = m * 2^e with m in [0.75, 1.5)
    let e = ((d * (1.0 / 0.75)).to_bits() >> 23) as i32 - 127;
    let m = f32::from_bits((d.to_bits() as i32 - (e << 23)) as u32);

    let x = (two_sum(-1.0, m)).quotient(two_sum(1.0, m));
    let x2 = x.square();
    let mut t = 0.240_320_35_f32;
    t = t.mul_add(x2.hi, 0.285_112_68);
    t = t.mul_add(x2.hi, 0.400_008);
    let c = Double::new(0.666_666_6, 3.691_838_6e-9);
    let ln2 = Double::new(std::f32::consts::LN_2, -1.904_654_2e-9);
    let s = ln2.times(e as f32).add(x.scaled(2.0));
    s.add(x2.product(x).product(x2.times(t).add2(c)))
}

/// Exponential of a sum of two floats.
fn exp(d: Double) -> f32 {
    const LN2_UPPER: f32 = 0.693_145_75;
    const LN2_LOWER: f32 = 1.428_606_8e-6;
    let q = ((d.hi + d.lo) * std::f32::consts::LOG2_E).round_ties_even();
    let s = d.add_any(q * -LN2_UPPER).add_any(q * -LN2_LOWER).normal();
    let mut u = 0.001_363_246_5_f32;
    u = u.mul_add(s.hi, 0.008_365_969);
    u = u.mul_add(s.hi, 0.041_671_082);
    u = u.mul_add(s.hi, 0.166_665_52);
    u = u.mul_add(s.hi, 0.499_999_85);
    let t = s.add(s.square().times(u));
    let t = Double::new(1.0, 0.0).add(t);
    (t.hi + t.lo) * f32::from_bits(((q as i32 + 127) << 23) as u32)
}

/// `x` to the power of `y`, for `x >= 1` and `0 <= y < 1`.
pub(super) fn powf(x: f32, y: f32) -> f32 {
    exp(log(x).times(y))
}

#[cfg(test)]
mod tests {
    /// Recorded from torch 2.11 on x86-64: `base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)`. All bits
    /// agreed for 3,021 bases from 100 to 1e12 and `dim` 32, 64, 128 and 256; these are ones where the correctly
    /// rounded power is another float.
    #[test]
    fn bits_of_torch() {
        let recorded = [
            (1e6_f32, 74, 128, 0x4537eba2_u32),
            (1e6_f32, 148, 256, 0x4537eba2_u32),
            (5e6_f32, 38, 128, 0x42c2e383_u32),
            (5e6_f32, 76, 256, 0x42c2e383_u32),
            (1e4_f32, 222, 256, 0x4537eba2_u32),
            (1.5e5_f32, 12, 64, 0x41157fa3_u32),
            (1.5e5_f32, 20, 64, 0x4225cd31_u32),
            (1.5e5_f32, 24, 128, 0x41157fa3_u32),
            (1.5e5_f32, 40, 128, 0x4225cd31_u32),
            (1.5e5_f32, 48, 256, 0x41157fa3_u32),
            (1.5e5_f32, 80, 256, 0x4225cd31_u32),
            (1e8_f32, 44, 64, 0x489a6878_u32),
            (1e8_f32, 74, 128, 0x4724b9a7_u32),
            (1e8_f32, 88, 128, 0x489a6878_u32),
            (1e8_f32, 148, 256, 0x4724b9a7_u32),
            (1e8_f32, 176, 256, 0x489a6878_u32),
            (5e5_f32, 0, 128, 0x3f800000_u32),
            (5e5_f32, 2, 128, 0x3f9d2107_u32),
            (5e5_f32, 62, 128, 0x4410015e_u32),
            (5e5_f32, 126, 128, 0x48c6e194_u32),
            (1e4_f32, 0, 128, 0x3f800000_u32),
            (1e4_f32, 2, 128, 0x3f93cfe5_u32),
            (1e4_f32, 62, 128, 0x42ad3160_u32),
            (1e4_f32, 126, 128, 0x46074e93_u32),
        ];
        for (base, i, dim, bits) in recorded {
            let power = super::powf(base, i as f32 / dim as f32);
            assert_eq!(power.to_bits(), bits, "{base} ** ({i} / {dim}) = {power}");
        }
    }
}

//! Numbers from a seed, the same on every machine, and the kinds of rows that weights are made of.

/// What the values of a row are like.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    Bell,
    NearOne,
    Zero,
    Constant(f32),
    /// Multiples of 1/64, so that many lie half-way between two quantized values.
    Grid,
    Outliers,
    Tiny,
    OneSided,
}

/// A generator that gives the same numbers everywhere: splitmix64, and no function of a mathematical library.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(folder: &str, tensor: &str) -> Self {
        // FNV-1a.
        let bytes = folder.bytes().chain(*b"/").chain(tensor.bytes());
        Random(bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About a normal distribution: the sum of four 16-bit numbers, exact in f32.
    pub(crate) fn bell(&mut self) -> f32 {
        let bits = self.bits();
        let sum: u64 = (0..4).map(|i| bits >> (16 * i) & 0xffff).sum();
        (sum as f32 - 131_070.0) / 1_048_576.0
    }

    pub(crate) fn style(&mut self) -> Style {
        match self.bits() % 24 {
            0 => Style::Zero,
            1 => Style::Constant(self.bell()),
            2 | 3 => Style::Grid,
            4 | 5 => Style::Outliers,
            6 => Style::Tiny,
            7 => Style::OneSided,
            _ => Style::Bell,
        }
    }

    pub(crate) fn value(&mut self, style: Style) -> f32 {
        let bell = self.bell();
        match style {
            Style::Bell => bell,
            Style::NearOne => 1.0 + bell,
            Style::Zero => 0.0,
            Style::Constant(value) => value,
            Style::Grid => (bell * 256.0).trunc() / 64.0,
            Style::Outliers if self.bits().is_multiple_of(50) => bell * 64.0,
            Style::Outliers => bell,
            Style::Tiny => bell / 65536.0,
            Style::OneSided => 0.25 + bell,
        }
    }
}

//! Which vector instructions the kernels use: detected once, limited for tests, dispatched in one place.
//!
//! A kernel is a plain Rust function with `#[inline(always)]`; [`multiversion!`] compiles it once a level. All levels
//! give the same bits: Rust neither contracts nor reorders float operations, and FMA is never enabled.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// The widest vector instructions in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor of the target has: SSE2 on x86-64, NEON on aarch64.
    Baseline,
    /// x86-64 with AVX2 and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Level {
    /// The widest level of this processor.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("f16c");
            if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                return Level::Avx512;
            }
            if avx2 {
                return Level::Avx2;
            }
        }
        Level::Baseline
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Baseline if cfg!(target_arch = "aarch64") => "NEON",
            Level::Baseline if cfg!(target_arch = "x86_64") => "SSE2",
            Level::Baseline => "baseline",
            Level::Avx2 => "AVX2",
            Level::Avx512 => "AVX-512",
        })
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        match s {
            "baseline" => Ok(Level::Baseline),
            "avx2" => Ok(Level::Avx2),
            "avx512" => Ok(Level::Avx512),
            _ => Err(()),
        }
    }
}

const UNKNOWN: u8 = u8::MAX;
static LEVEL: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The level in use: what the processor has, unless [`limit`] lowered it.
pub fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        0 => Level::Baseline,
        1 => Level::Avx2,
        2 => Level::Avx512,
        _ => {
            let level = Level::detect();
            LEVEL.store(level as u8, Ordering::Relaxed);
            level
        }
    }
}

/// Uses no wider instructions than these from now on, in the whole process; gives the level then in use.
pub fn limit(to: Level) -> Level {
    let level = to.min(Level::detect());
    LEVEL.store(level as u8, Ordering::Relaxed);
    level
}

/// Compiles a kernel for each level and gives a function that runs the one for [`level`].
///
/// `multiversion! { pub(crate) fn name(x: &[f32], out: &mut [u8]) = kernel; }` where `kernel` is an
/// `#[inline(always)]` function of the same signature, with its generics named. Call it once a slab: the choice is made at each call.
///
/// `= kernel, at most Avx2;` leaves AVX-512 out, where the compiler makes worse code of wider vectors. That is measured
/// (on Zen 5, by `cargo bench`), not reasoned out.
macro_rules! multiversion {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $kernel:path $(, at most $most:ident)?;
    ) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
                fn avx512($($arg: $ty),*) $(-> $ret)? { $kernel($($arg),*) }
                #[target_feature(enable = "avx2,f16c")]
                fn avx2($($arg: $ty),*) $(-> $ret)? { $kernel($($arg),*) }
                match $crate::quantize::simd::level()$(.min($crate::quantize::simd::Level::$most))? {
                    // SAFETY: `level` is at most what `Level::detect` found on this processor.
                    #[allow(unsafe_code, reason = "calls a target_feature function after detection")]
                    $crate::quantize::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    #[allow(unsafe_code, reason = "calls a target_feature function after detection")]
                    $crate::quantize::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::quantize::simd::Level::Baseline => {}
                }
            }
            $kernel($($arg),*)
        }
    };
}
pub(crate) use multiversion;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_only_lower() {
        let detected = Level::detect();
        assert_eq!(limit(Level::Baseline), Level::Baseline);
        assert_eq!(limit(Level::Avx512), detected);
    }
}

//! The quantization methods: what a name such as `Q4_K_M` stands for.
//!
//! In: a name as people type it. Out: a row of [`Method::ALL`]. Which type each tensor gets from a method is the
//! matter of [`mixture`](super::mixture). What makes tokens of pictures is no model that is quantized: its files have the
//! names of [`Method::TOWERS`]. Names, aliases and file types are those of `llama-quantize`
//! (`QUANT_OPTIONS` in `tools/quantize/quantize.cpp`, `llama_ftype_get_default_type` in `src/llama-quant.cpp`).

use std::fmt;

use thiserror::Error;

use crate::gguf::GgmlType;

/// What an importance matrix means to a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// Its types have no use for one.
    Unused,
    /// It improves the result.
    Helps,
    /// Without one, the reference refuses to write the file for an ordinary model.
    Required,
}

/// One quantization method.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// Name in upper case, as it stands in file names and tables.
    pub name: &'static str,
    /// Other names of the same method.
    pub aliases: &'static [&'static str],
    /// `general.file_type` of the files that it makes; none for `COPY`, which keeps the base file's.
    pub file_type: Option<u32>,
    /// The type of a tensor that no rule singles out; none for `COPY`.
    pub default_type: Option<GgmlType>,
    /// Whether an importance matrix is needed.
    pub importance: Importance,
    /// Two or three words on what is left of the model's quality.
    pub quality: &'static str,
    /// What the method is good for.
    pub good_for: &'static str,
}

/// A name that no method has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown method `{name}`{}", did_you_mean(.suggestion))]
pub struct UnknownMethod {
    /// The name as it was given.
    pub name: String,
    /// The method whose name is closest, if one is close.
    pub suggestion: Option<&'static str>,
}

fn did_you_mean(suggestion: &Option<&'static str>) -> String {
    suggestion.map_or_else(String::new, |s| format!(" (did you mean `{s}`?)"))
}

impl Method {
    /// The method of a name or an alias, in either case.
    ///
    /// # Errors
    /// [`UnknownMethod`], with the closest name if there is one.
    pub fn from_name(name: &str) -> Result<&'static Method, UnknownMethod> {
        let typed = name.trim();
        Self::ALL
            .iter()
            .find(|m| m.names().any(|n| n.eq_ignore_ascii_case(typed)))
            .ok_or_else(|| UnknownMethod { name: name.to_owned(), suggestion: closest(typed) })
    }

    /// The method of a file type number, as `llama-quantize` accepts it in place of a name and as
    /// `general.file_type` holds it.
    pub fn from_file_type(file_type: u32) -> Option<&'static Method> {
        Self::ALL.iter().find(|m| m.file_type == Some(file_type))
    }

    /// The method of an output: one of a text model, or a vision tower's type.
    ///
    /// # Errors
    /// As [`Method::from_name`].
    pub fn of_output(name: &str) -> Result<&'static Method, UnknownMethod> {
        let tower = Self::TOWERS.iter().find(|m| m.names().any(|n| n.eq_ignore_ascii_case(name.trim())));
        tower.map_or_else(|| Self::from_name(name), Ok)
    }

    /// Whether it is a vision tower's type, and no method of a text model.
    pub fn is_tower(&self) -> bool {
        Self::TOWERS.iter().any(|tower| tower.name == self.name)
    }

    /// The name, then the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether the method leaves every tensor as it is (`COPY`).
    pub const fn only_copies(&self) -> bool {
        self.default_type.is_none()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// The name nearest to what was typed, if it is near. `_`, `-` and case do not count: `q4km` is close to `Q4_K_M`.
fn closest(typed: &str) -> Option<&'static str> {
    let plain = |s: &str| -> String {
        s.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
    };
    let typed = plain(typed);
    Method::ALL
        .iter()
        .flat_map(Method::names)
        .map(|name| (strsim::damerau_levenshtein(&plain(name), &typed), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 2 && *distance < typed.len())
        .map(|(_, name)| name)
}

macro_rules! methods {
    ($($name:literal $($alias:literal)* = $file_type:expr, $ty:expr, $importance:ident, $quality:literal, $good_for:literal;)*) => {
        impl Method {
            /// Every method, the most bits first.
            pub const ALL: &'static [Method] = &[$(Method {
                name: $name,
                aliases: &[$($alias),*],
                file_type: $file_type,
                default_type: $ty,
                importance: Importance::$importance,
                quality: $quality,
                good_for: $good_for,
            },)*];
        }
    };
}

use GgmlType as T;

methods! {
    "F32" = Some(0), Some(T::F32), Unused, "exact",
        "reference files and further conversion; twice the size of the usual source";
    "BF16" = Some(32), Some(T::BF16), Unused, "exact for bf16 models",
        "full quality where the hardware has bf16, and as a base for other methods";
    "F16" = Some(1), Some(T::F16), Unused, "practically exact",
        "full quality on hardware without bf16";
    "Q8_0" = Some(7), Some(T::Q8_0), Unused, "practically lossless",
        "the largest file that still saves something; simple and fast everywhere";
    "Q6_K" = Some(18), Some(T::Q6_K), Helps, "near lossless",
        "almost full quality at three quarters of Q8_0's size";
    "Q5_1" = Some(9), Some(T::Q5_1), Helps, "very good",
        "widths that K-quants do not fit; otherwise Q5_K_M is better";
    "Q5_K_M" "Q5_K" = Some(17), Some(T::Q5_K), Helps, "very good",
        "a careful choice when memory allows a little more than Q4_K_M";
    "Q5_K_S" = Some(16), Some(T::Q5_K), Helps, "very good",
        "slightly smaller than Q5_K_M at little loss";
    "Q5_0" = Some(8), Some(T::Q5_0), Helps, "good",
        "widths that K-quants do not fit; otherwise Q5_K_S is better";
    "Q4_1" = Some(3), Some(T::Q4_1), Helps, "good",
        "fast on some hardware; Q4_K_M is usually better at this size";
    "Q4_K_M" "Q4_K" = Some(15), Some(T::Q4_K), Helps, "good",
        "the usual choice: the balance of size, speed and quality";
    "Q4_K_S" = Some(14), Some(T::Q4_K), Helps, "good",
        "a little smaller than Q4_K_M";
    "IQ4_NL" = Some(25), Some(T::IQ4_NL), Helps, "good",
        "four bits for widths that are no multiple of 256; can be repacked for ARM";
    "Q4_0" = Some(2), Some(T::Q4_0), Helps, "fair",
        "speed: the simplest four bits, repacked at load time for many CPUs";
    "IQ4_XS" = Some(30), Some(T::IQ4_XS), Helps, "good",
        "close to Q4_K_S in quality and smaller; slower on CPUs";
    "MXFP4_MOE" = Some(38), Some(T::MXFP4), Unused, "fair",
        "mixture-of-experts models that were trained for MXFP4";
    "Q3_K_L" = Some(13), Some(T::Q3_K), Helps, "fair",
        "little memory; the largest of the three-bit mixtures";
    "IQ3_M" = Some(27), Some(T::IQ3_S), Helps, "fair",
        "better than Q3_K_M at a similar size, with an importance matrix";
    "Q3_K_M" "Q3_K" = Some(12), Some(T::Q3_K), Helps, "fair",
        "little memory, with a loss that shows";
    "IQ3_S" = Some(26), Some(T::IQ3_S), Helps, "fair",
        "three bits throughout, better than Q3_K_S";
    "Q3_K_S" = Some(11), Some(T::Q3_K), Helps, "low",
        "the smallest plain three-bit file; IQ3_XS is better";
    "IQ3_XS" = Some(22), Some(T::IQ3_S), Required, "low",
        "very little memory, better than Q3_K_S at its size";
    "IQ3_XXS" = Some(23), Some(T::IQ3_XXS), Required, "low",
        "very little memory, comparable to Q3_K_S and smaller";
    "Q2_K" = Some(10), Some(T::Q2_K), Helps, "low",
        "large models that fit no other way";
    "Q2_K_S" = Some(21), Some(T::Q2_K), Required, "low",
        "slightly smaller than Q2_K, with an importance matrix";
    "IQ2_M" = Some(29), Some(T::IQ2_S), Required, "low",
        "large models in about 2.7 bits";
    "IQ2_S" = Some(28), Some(T::IQ2_XS), Required, "very low",
        "large models in about 2.5 bits";
    "IQ2_XS" = Some(20), Some(T::IQ2_XS), Required, "very low",
        "large models in about 2.3 bits";
    "Q2_0" = Some(41), Some(T::Q2_0), Unused, "very low",
        "models that were trained for two bits";
    "IQ2_XXS" = Some(19), Some(T::IQ2_XXS), Required, "very low",
        "very large models in about 2.1 bits";
    "TQ2_0" = Some(37), Some(T::TQ2_0), Unused, "for ternary models",
        "models that were trained with ternary weights (BitNet, TriLM); fast";
    "IQ1_M" = Some(31), Some(T::IQ1_M), Required, "very low",
        "a last resort for very large models";
    "TQ1_0" = Some(36), Some(T::TQ1_0), Unused, "for ternary models",
        "models that were trained with ternary weights (BitNet, TriLM); smallest";
    "IQ1_S" = Some(24), Some(T::IQ1_S), Required, "very low",
        "the smallest file there is, mostly of scientific interest";
    "Q1_0" = Some(40), Some(T::Q1_0), Unused, "for binary models",
        "models that were trained with binary weights";
    "COPY" = None, None, Unused, "unchanged",
        "tensors as they are, in llama-quantize's order and with changed metadata";
}

impl Method {
    /// The types that a vision tower is converted to, the most bits first.
    pub const TOWERS: &'static [Method] = &[
        tower("mmproj-F32", T::F32, "exact", "reference files of the vision tower"),
        tower(
            "mmproj-BF16",
            T::BF16,
            "exact for bf16 models",
            "pictures, beside any of the models, where the hardware has bf16",
        ),
        tower(
            "mmproj-F16",
            T::F16,
            "practically exact",
            "pictures, beside any of the models: the usual choice",
        ),
        tower(
            "mmproj-Q8_0",
            T::Q8_0,
            "practically lossless",
            "pictures, beside any of the models, in half the memory",
        ),
    ];
}

const fn tower(name: &'static str, ty: GgmlType, quality: &'static str, good_for: &'static str) -> Method {
    let importance = Importance::Unused;
    Method { name, aliases: &[], file_type: None, default_type: Some(ty), importance, quality, good_for }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_either_case_and_by_alias() {
        for (typed, name) in [
            ("Q4_K_M", "Q4_K_M"),
            ("q4_k_m", "Q4_K_M"),
            ("Q4_K", "Q4_K_M"),
            ("q3_k", "Q3_K_M"),
            ("bf16", "BF16"),
        ] {
            assert_eq!(Method::from_name(typed).expect("known").name, name, "{typed}");
        }
    }

    #[test]
    fn unknown_names_get_a_suggestion() {
        let suggestion = |typed: &str| Method::from_name(typed).expect_err("unknown").suggestion;
        assert_eq!(suggestion("Q4KM"), Some("Q4_K_M"));
        assert_eq!(suggestion("q4-k-m"), Some("Q4_K_M"));
        assert_eq!(suggestion("Q5_K_X"), Some("Q5_K_M"));
        assert_eq!(suggestion("IQ3_XXL"), Some("IQ3_XXS"));
        assert_eq!(suggestion("int8-dynamic"), None);
        assert_eq!(suggestion(""), None);
        assert_eq!(
            Method::from_name("Q4KM").expect_err("unknown").to_string(),
            "unknown method `Q4KM` (did you mean `Q4_K_M`?)"
        );
    }

    #[test]
    fn towers_are_no_methods() {
        for (typed, name) in [("mmproj-f16", "mmproj-F16"), ("MMPROJ-Q8_0", "mmproj-Q8_0"), ("Q8_0", "Q8_0")]
        {
            let method = Method::of_output(typed).expect("known");
            assert_eq!((method.name, method.is_tower()), (name, name != "Q8_0"), "{typed}");
        }
        assert!(Method::from_name("mmproj-F16").is_err());
        assert!(Method::of_output("mmproj-Q4_K_M").is_err());
    }

    #[test]
    fn names_and_file_types_are_unique() {
        let mut names: Vec<_> = Method::ALL.iter().flat_map(Method::names).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Method::ALL.iter().map(|m| 1 + m.aliases.len()).sum::<usize>());
        for method in Method::ALL.iter().filter(|m| !m.only_copies()) {
            let file_type = method.file_type.expect("every method but COPY has one");
            assert_eq!(Method::from_file_type(file_type), Some(method));
        }
    }
}

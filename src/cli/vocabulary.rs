//! The methods, as models.yaml may name them.

use crate::config::{MethodName, Vocabulary};
use crate::quantize::method::Method;

/// Every method but `COPY`, which makes nothing of a checkpoint, the most bits first; then the types of vision towers.
pub fn vocabulary() -> Vocabulary<'static> {
    static METHODS: std::sync::LazyLock<Vec<MethodName<'static>>> = std::sync::LazyLock::new(|| {
        let methods = Method::ALL.iter().filter(|method| !method.only_copies()).chain(Method::TOWERS);
        methods.map(|method| MethodName { name: method.name, aliases: method.aliases }).collect()
    });
    Vocabulary { methods: &METHODS }
}

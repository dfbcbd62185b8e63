//! Which files of a folder or repository are shards, where no index names them.

/// The configuration of Mistral's own format, where `config.json` is that of transformers'.
pub const PARAMS: &str = "params.json";

/// What the names of shards start with, in a folder or repository with these files at its root: transformers' format, or
/// Mistral's own where nothing else is there.
pub fn shard_prefix<'a>(names: impl IntoIterator<Item = &'a str>) -> &'static str {
    let (mut config, mut params) = (false, false);
    for name in names {
        config |= name == "config.json";
        params |= name == PARAMS;
    }
    if params && !config { "consolidated" } else { "model" }
}

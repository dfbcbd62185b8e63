//! Xet's client library, set up so that it keeps to itself.
//!
//! Its settings are given here in full; it would read them from the environment, send telemetry, and keep notes below
//! the home directory. It logs through `tracing`, which nobody here listens to.
//!
//! Memory, of `n` streams: each fills a xorb of 64 MiB; while [`AHEAD`] bytes of full ones wait, streams are fed no more.
//! [`COMPRESSED`] xorbs are there twice while they are compressed. So it is about `64 MiB * n` and [`AHEAD`], twice
//! that where all streams fill up at the same moment.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tokio::runtime::Handle;
use tokio::time::sleep;
use xet::XetError;
use xet::xet_session::Sha256Policy;
use xet::xet_session::{
    XetCommitReport, XetConfig, XetSession, XetSessionBuilder, XetStreamUpload, XetUploadCommit,
};

use super::grant::Grant;
use crate::base::hash;
use crate::hub::retry::Retry;

/// Xorbs on their way to the store at once.
const XORBS: usize = 3;

/// Bytes of xorbs that wait for the network before streams have to.
const AHEAD: u64 = 96 << 20;

/// Xorbs that are compressed at once: threads for work that keeps a processor busy, which is hashing, too.
pub(super) const COMPRESSED: usize = 2;

/// What every round of an upload needs.
pub(super) struct Xet {
    grant: Grant,
    /// The user's token, for asking the Hub for the next grant.
    bearer: HeaderMap,
    config: XetConfig,
    folder: PathBuf,
}

impl Xet {
    pub(super) fn new(
        grant: Grant,
        authorization: Option<HeaderValue>,
        retry: &Retry,
        folder: &Path,
    ) -> Self {
        let bearer = authorization.map(|value| (AUTHORIZATION, value)).into_iter().collect();
        Xet { grant, bearer, config: config(retry), folder: folder.to_owned() }
    }

    /// Starts a round. It makes no request.
    pub(super) async fn begin(&self, number: u32, handle: Handle) -> Result<Round, XetError> {
        let session = XetSessionBuilder::new_with_config(self.config.clone())
            .with_cache_dir(&self.folder)
            .with_tokio_handle(handle)
            .build()?;
        let Grant { store, token, expires, renewal } = &self.grant;
        let commit = session
            .new_upload_commit()?
            .with_endpoint(store.as_str().trim_end_matches('/'))
            .with_token_info(token, *expires)
            .with_token_refresh_url(renewal.as_str(), self.bearer.clone())
            .build()
            .await?;
        Ok(Round { number, commit, broken: OnceLock::new(), _session: session })
    }
}

fn config(retry: &Retry) -> XetConfig {
    let mut config = XetConfig::default();
    config.telemetry.enabled = false;
    config.client.retry_max_attempts = retry.attempts as usize;
    // The library doubles it each time.
    config.client.retry_base_delay = retry.first * 4;
    config.client.retry_max_duration = retry.longest;
    config.client.connect_timeout = retry.stall;
    config.client.ac_max_upload_concurrency = XORBS;
    // What was sent is noted soon, so that a round that fails is not sent again.
    config.data.session_xorb_metadata_flush_max_count = 1;
    // Entries of an index in memory, one for 64 KiB of data: enough for 128 GiB.
    config.shard.chunk_index_table_max_size = 2 << 20;
    config
}

/// One try to bring all files into the store. Where anything in it fails it is broken for good: a xorb that did not
/// arrive may belong to any of its files.
pub(super) struct Round {
    pub(super) number: u32,
    commit: XetUploadCommit,
    broken: OnceLock<String>,
    _session: XetSession,
}

/// How far a round has come; equal while nothing moves.
#[derive(Debug, PartialEq)]
pub(super) struct Moved([u64; 5]);

impl Round {
    pub(super) async fn stream(&self, path: &str, size: u64) -> Result<XetStreamUpload, XetError> {
        let sha256 = match size {
            // Of no bytes it computes a hash of zeros.
            0 => Sha256Policy::from_hex(&hash::sha256(b"")),
            _ => Sha256Policy::Compute,
        };
        self.commit.upload_stream(Some(path.to_owned()), sha256).await
    }

    pub(super) async fn commit(&self) -> Result<XetCommitReport, XetError> {
        self.commit.commit().await
    }

    pub(super) fn moved(&self) -> Moved {
        let report = self.commit.progress();
        let shard = report.shard.unwrap_or_default();
        Moved([
            report.total_bytes,
            report.total_bytes_completed,
            report.total_transfer_bytes_completed,
            shard.total_shard_bytes_upload_completed,
            shard.total_shard_validation_entries_completed + u64::from(shard.total_shards_completed),
        ])
    }

    /// Waits until the network has caught up, or the round is over.
    pub(super) async fn room(&self) {
        const LOOK: Duration = Duration::from_millis(10);
        let waiting = || {
            let report = self.commit.progress();
            report.total_transfer_bytes.saturating_sub(report.total_transfer_bytes_completed)
        };
        while waiting() > AHEAD && self.broken().is_none() {
            sleep(LOOK).await;
        }
    }

    /// Ends the round; the first cause is kept.
    pub(super) fn give_up(&self, why: String) {
        let _ = self.broken.set(why);
        // It fails only where a lock is poisoned; then the runtime's end stops the rest.
        let _ = self.commit.abort();
    }

    /// Why the round ended, if it did.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_to_others() {
        let config = config(&Retry::default());
        assert!(!config.telemetry.enabled);
        assert_eq!(config.log.dest, None);
        assert!(!config.system_monitor.enabled);
    }
}

//! Where a file's bytes are: asked of the Hub once, and again when that address fails.

use std::ops::Range;

use reqwest::Url;
use tokio::sync::Mutex;

use super::address::shown;
use super::client::{Answer, Client, Linked, Subject};
use super::error::HubError;
use super::remote;
use super::retry::Failure;
use super::select::RemoteFile;

/// The address that the Hub redirected to, once it did.
#[derive(Debug, Default)]
pub(super) struct Located(Mutex<Option<Url>>);

impl Located {
    /// Sends a request to where the file is; the first one finds that out, while others wait.
    pub(super) async fn get(
        &self,
        client: &Client<'_>,
        subject: Subject<'_>,
        file: &RemoteFile,
        range: Option<&Range<u64>>,
        if_range: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut place = self.0.lock().await;
        let answer = if let Some(url) = place.clone() {
            drop(place);
            let answer = client.get(subject, url, range, if_range).await;
            if answer.is_err() {
                // The signature may have expired: the next try asks the Hub again.
                *self.0.lock().await = None;
            }
            answer?
        } else {
            let url = client.url(&remote::address(subject.repo, subject.revision, &file.path));
            let answer = client.get(subject, url, range, if_range).await?;
            *place = Some(answer.url.clone());
            answer
        };
        if contradicts(&answer.linked, file) {
            let why = "the Hub states another size or hash than its listing does";
            return Err(Failure::never(HubError::Protocol { url: shown(&answer.url), why }));
        }
        Ok(answer)
    }
}

fn contradicts(linked: &Linked, file: &RemoteFile) -> bool {
    let listed = |sha256: &String| file.sha256.as_ref().is_none_or(|listed| listed == sha256);
    linked.size.is_some_and(|size| size != file.size) || !linked.sha256.as_ref().is_none_or(listed)
}

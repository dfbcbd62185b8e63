//! A file that is being downloaded: its bytes, and a note beside it of which of them are there.
//!
//! Bytes are written where they belong, in any order. The note is written after them, so that it never claims bytes
//! that were not written; whoever opens the file again goes on from the note. Power loss may tell lies: the
//! file's hash finds them.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use crate::base::atomic;
use crate::base::positioned::write_all_at;

/// New bytes after which the note is written anew.
const NOTE_EVERY: u64 = 16 << 20;

/// Most pieces that a file is cut into.
const MOST_SPANS: u64 = 1 << 16;

/// A file under download.
#[derive(Debug)]
pub(super) struct Part {
    file: Arc<File>,
    path: PathBuf,
    note: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    note: Note,
    /// Bytes since the note was last written.
    unsaved: u64,
    dirty: bool,
}

/// What the note says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    /// Which content this is.
    content: String,
    size: u64,
    /// The server's tag of the content, for If-Range.
    etag: Option<String>,
    /// Length of the pieces; the last one may be shorter.
    span: u64,
    /// How many bytes of each piece are there, from its start.
    done: Vec<u64>,
}

impl Part {
    /// Opens the part at `path`, going on with what is there if it is the same content.
    pub(super) fn open(path: &Path, content: &str, size: u64, span: u64) -> io::Result<Self> {
        let note_path = note_path(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let old = fs::read(&note_path).ok().and_then(|json| serde_json::from_slice::<Note>(&json).ok());
        let fits = |note: &Note| {
            note.content == content
                && note.size == size
                && note.is_sound()
                && file.metadata().is_ok_and(|m| m.len() == size)
        };
        let (note, dirty) = match old.filter(fits) {
            Some(note) => (note, false),
            None => (Note::new(content, size, span), true),
        };
        file.set_len(size)?;
        let state = Mutex::new(State { note, unsaved: 0, dirty });
        Ok(Part { file: Arc::new(file), path: path.to_owned(), note: note_path, state })
    }

    /// Bytes that are there.
    pub(super) fn done(&self) -> u64 {
        self.state().note.done.iter().sum()
    }

    /// Bytes from the start on without a gap.
    pub(super) fn contiguous(&self) -> u64 {
        let state = self.state();
        let mut end = 0;
        for (i, done) in state.note.done.iter().enumerate() {
            end += done;
            if *done < state.note.length(i) {
                break;
            }
        }
        end
    }

    /// Number of pieces.
    pub(super) fn spans(&self) -> usize {
        self.state().note.done.len()
    }

    /// What is missing of a piece; empty where nothing is.
    pub(super) fn missing(&self, span: usize) -> Range<u64> {
        let note = &self.state().note;
        let start = span as u64 * note.span;
        start + note.done[span]..start + note.length(span)
    }

    /// The server's tag of the content.
    pub(super) fn etag(&self) -> Option<String> {
        self.state().note.etag.clone()
    }

    pub(super) fn set_etag(&self, etag: Option<String>) {
        let mut state = self.state();
        state.note.etag = etag;
        state.dirty = true;
    }

    /// Appends bytes to what is there of a piece.
    pub(super) fn append(&self, span: usize, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, bytes, self.missing(span).start)?;
        let mut state = self.state();
        state.note.done[span] += bytes.len() as u64;
        state.unsaved += bytes.len() as u64;
        state.dirty = true;
        if state.unsaved >= NOTE_EVERY { self.save(&mut state) } else { Ok(()) }
    }

    /// Forgets all bytes. In one piece if `whole`: for a server that knows no ranges.
    pub(super) fn restart(&self, etag: Option<String>, whole: bool) -> io::Result<()> {
        let mut state = self.state();
        let span = if whole { state.note.size } else { state.note.span };
        state.note = Note { etag, ..Note::new(&state.note.content, state.note.size, span) };
        self.save(&mut state)
    }

    /// Forgets the bytes of one piece.
    pub(super) fn forget(&self, span: usize) {
        let mut state = self.state();
        state.note.done[span] = 0;
        state.dirty = true;
    }

    /// For reading bytes that are there, from any thread.
    pub(super) fn reader(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Gives the whole file its final name.
    pub(super) fn finish(self, target: &Path) -> io::Result<()> {
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        self.state().dirty = false;
        atomic::rename(&self.path, target)?;
        clear(&self.path)
    }

    /// Removes it.
    pub(super) fn discard(self) -> io::Result<()> {
        self.state().dirty = false;
        clear(&self.path)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn save(&self, state: &mut State) -> io::Result<()> {
        let json = serde_json::to_vec(&state.note)?;
        let beside = new_note_path(&self.note);
        fs::write(&beside, json)?;
        fs::rename(&beside, &self.note)?;
        (state.unsaved, state.dirty) = (0, false);
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut state = self.state();
        if state.dirty {
            // What the note does not know is only fetched again.
            let _ = self.save(&mut state);
        }
    }
}

impl Note {
    fn new(content: &str, size: u64, span: u64) -> Self {
        let span = span.max(size.div_ceil(MOST_SPANS)).max(1);
        let done = vec![0; size.div_ceil(span) as usize];
        Note { content: content.to_owned(), size, etag: None, span, done }
    }

    fn length(&self, span: usize) -> u64 {
        self.span.min(self.size - span as u64 * self.span)
    }

    fn is_sound(&self) -> bool {
        self.span > 0
            && self.done.len() as u64 == self.size.div_ceil(self.span)
            && self.done.iter().enumerate().all(|(i, done)| *done <= self.length(i))
    }
}

/// How many bytes of this content an interrupted download has left, without opening it.
pub(super) fn done_before(path: &Path, content: &str, size: u64) -> u64 {
    let note = fs::read(note_path(path)).ok().and_then(|json| serde_json::from_slice::<Note>(&json).ok());
    let ours = |note: &Note| note.content == content && note.size == size && note.is_sound() && path.exists();
    note.filter(ours).map_or(0, |note| note.done.iter().sum())
}

/// Removes whatever there is of a part: a process may have been killed between any two of its steps.
pub(super) fn clear(path: &Path) -> io::Result<()> {
    let note = note_path(path);
    // The note goes first: without it, bytes count for nothing.
    for file in [&note, &new_note_path(&note), path] {
        match fs::remove_file(file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn note_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// Where the note is written anew, to replace the old one at once.
fn new_note_path(note: &Path) -> PathBuf {
    note.with_extension("new")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::positioned::read_exact_at;

    #[test]
    fn goes_on_where_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.part");
        let part = Part::open(&path, "c", 10, 4).unwrap();
        assert_eq!(part.spans(), 3);
        part.append(0, b"0123").unwrap();
        part.append(2, b"8").unwrap();
        part.append(1, b"45").unwrap();
        part.set_etag(Some("\"t\"".into()));
        assert_eq!((part.done(), part.contiguous()), (7, 6));
        drop(part);
        assert_eq!(done_before(&path, "c", 10), 7);
        assert_eq!(done_before(&path, "other", 10), 0);

        // Another cut is asked for; the one of the note stays.
        let part = Part::open(&path, "c", 10, 5).unwrap();
        assert_eq!((part.missing(0), part.missing(1), part.missing(2)), (4..4, 6..8, 9..10));
        assert_eq!(part.etag().as_deref(), Some("\"t\""));
        part.append(1, b"67").unwrap();
        part.append(2, b"9").unwrap();
        let mut bytes = [0; 10];
        read_exact_at(&part.reader(), &mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"0123456789");
        let target = folder.path().join("sub/w");
        part.finish(&target).unwrap();
        assert_eq!(fs::read(target).unwrap(), b"0123456789");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        // Killed between the file's renaming and the end of its note, or while the note was written anew.
        fs::write(note_path(&path), "{}").unwrap();
        fs::write(new_note_path(&note_path(&path)), "{").unwrap();
        clear(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_note_that_does_not_fit_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.part");
        let start = |content: &str, size| {
            let part = Part::open(&path, content, size, 4).unwrap();
            let done = part.done();
            part.forget(0);
            part.append(0, b"01").unwrap();
            done
        };
        assert_eq!(start("c", 10), 0);
        assert_eq!(start("c", 10), 2);
        assert_eq!(start("d", 10), 0);
        assert_eq!(start("d", 11), 0);
        fs::write(&path, b"short").unwrap();
        assert_eq!(start("d", 11), 0);
        for bad in [
            "{",
            r#"{"content":"d","size":11,"etag":null,"span":0,"done":[]}"#,
            r#"{"content":"d","size":11,"etag":null,"span":4,"done":[9,0,0]}"#,
        ] {
            fs::write(note_path(&path), bad).unwrap();
            assert_eq!(start("d", 11), 0, "{bad}");
        }
    }

    #[test]
    fn restarts_in_pieces_or_whole() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part::open(&folder.path().join("w.part"), "c", 10, 4).unwrap();
        part.append(0, b"0123").unwrap();
        part.restart(Some("\"n\"".into()), false).unwrap();
        assert_eq!((part.done(), part.spans(), part.etag().as_deref()), (0, 3, Some("\"n\"")));
        part.restart(None, true).unwrap();
        assert_eq!((part.spans(), part.missing(0)), (1, 0..10));
        part.discard().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let empty = Part::open(&folder.path().join("e.part"), "c", 0, 4).unwrap();
        assert_eq!((empty.spans(), empty.contiguous()), (0, 0));
    }
}

//! Gzipped tar files whose entries are written as they stand, however bad.

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

/// What an entry is.
#[derive(Clone, Debug)]
pub enum Member {
    File(String),
    Program(String),
    /// A symbolic link.
    Link(&'static str),
    /// A hard link.
    Hard(&'static str),
    Device,
    /// So many bytes of nothing, which pack well.
    Zeros(u64),
}

/// A text file.
pub fn file(text: &str) -> Member {
    Member::File(text.to_owned())
}

/// A program.
pub fn program(text: &str) -> Member {
    Member::Program(text.to_owned())
}

/// The archive of these entries.
pub fn tar_gz<'a>(members: impl IntoIterator<Item = (&'a str, Member)>) -> Vec<u8> {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, member) in members {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(if matches!(member, Member::Program(_)) { 0o755 } else { 0o644 });
        let (kind, target) = match &member {
            Member::Link(target) => (EntryType::Symlink, *target),
            Member::Hard(target) => (EntryType::Link, *target),
            Member::Device => (EntryType::Char, ""),
            _ => (EntryType::Regular, ""),
        };
        header.set_entry_type(kind);
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        let text = match &member {
            Member::File(text) | Member::Program(text) => text.as_str(),
            _ => "",
        };
        match member {
            Member::Zeros(bytes) => {
                header.set_size(bytes);
                header.set_cksum();
                tar.append(&header, std::io::Read::take(std::io::repeat(0), bytes)).unwrap();
            }
            _ => {
                header.set_size(text.len() as u64);
                header.set_cksum();
                tar.append(&header, text.as_bytes()).unwrap();
            }
        }
    }
    tar.into_inner().unwrap().finish().unwrap()
}

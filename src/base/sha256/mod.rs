//! SHA-256 (FIPS 180-4) of two streams at once.
//!
//! In: the bytes of files that are written side by side, each in order and in pieces of any length. Out: the digest of
//! each. One stream leaves a processor's SHA instructions idle between a round and the next: two together take little
//! longer than one. No library has that for streams; one stream alone, and other processors, are left to `sha2`.

#[cfg(target_arch = "x86_64")]
mod shani;

use sha2::block_api::compress256;

use super::hash::hex;

/// Bytes that are hashed at once.
const BLOCK: usize = 64;

type Block = [u8; BLOCK];
type State = [u32; 8];

/// Section 5.3.3.
const INITIAL: State =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// The hash of a stream, so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sha256 {
    state: State,
    /// What came after the last whole block.
    rest: Block,
    bytes: u64,
}

impl Default for Sha256 {
    fn default() -> Self {
        Sha256 { state: INITIAL, rest: [0; BLOCK], bytes: 0 }
    }
}

impl Sha256 {
    /// Takes the stream's next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let blocks = self.whole_blocks(bytes);
        compress256(&mut self.state, blocks);
    }

    /// The digest in hexadecimal digits; the next stream begins.
    pub fn finish(&mut self) -> String {
        let Sha256 { mut state, mut rest, bytes } = std::mem::take(self);
        // A one, zeros, and the number of bits at the end of a block.
        let at = bytes as usize % BLOCK;
        rest[at] = 0x80;
        rest[at + 1..].fill(0);
        if at + 1 > BLOCK - 8 {
            compress256(&mut state, &[rest]);
            rest.fill(0);
        }
        rest[BLOCK - 8..].copy_from_slice(&(bytes * 8).to_be_bytes());
        compress256(&mut state, &[rest]);
        hex(state.map(u32::to_be_bytes).as_flattened())
    }

    /// Completes the block that was begun and keeps what follows the last whole one; gives the blocks between.
    fn whole_blocks<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [Block] {
        let begun = self.bytes as usize % BLOCK;
        self.bytes += bytes.len() as u64;
        if begun > 0 {
            let taken = bytes.len().min(BLOCK - begun);
            let (first, others) = bytes.split_at(taken);
            self.rest[begun..begun + taken].copy_from_slice(first);
            if begun + taken < BLOCK {
                return &[];
            }
            compress256(&mut self.state, &[self.rest]);
            bytes = others;
        }
        let (blocks, rest) = bytes.as_chunks();
        self.rest[..rest.len()].copy_from_slice(rest);
        blocks
    }
}

/// Takes the next bytes of two streams.
pub fn update_both(streams: [&mut Sha256; 2], bytes: [&[u8]; 2]) {
    let [one, other] = streams;
    let blocks = [one.whole_blocks(bytes[0]), other.whole_blocks(bytes[1])];
    let together = blocks[0].len().min(blocks[1].len());
    compress_both(&mut [&mut one.state, &mut other.state], blocks.map(|blocks| &blocks[..together]));
    compress256(&mut one.state, &blocks[0][together..]);
    compress256(&mut other.state, &blocks[1][together..]);
}

fn compress_both(states: &mut [&mut State; 2], blocks: [&[Block]; 2]) {
    #[cfg(target_arch = "x86_64")]
    if shani::is_there() {
        return shani::run(states, blocks);
    }
    for (state, blocks) in states.iter_mut().zip(blocks) {
        compress256(state, blocks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::Digest as _;

    fn bytes(seed: usize, length: usize) -> Vec<u8> {
        (0..length).map(|i| (i.wrapping_mul(7919) ^ (i >> 7).wrapping_mul(seed * 31 + 1)) as u8).collect()
    }

    fn expected(bytes: &[u8]) -> String {
        hex(&sha2::Sha256::digest(bytes))
    }

    /// FIPS 180-4's examples, and the lengths at which the padding takes a block of its own.
    #[test]
    fn known_digests_and_every_padding() {
        let digest = |bytes: &[u8]| {
            let mut hash = Sha256::default();
            hash.update(bytes);
            hash.finish()
        };
        assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for length in 0..200 {
            let bytes = bytes(1, length);
            assert_eq!(digest(&bytes), expected(&bytes), "{length} bytes");
        }
    }

    #[test]
    fn a_hash_begins_anew_when_it_ends() {
        let mut hash = Sha256::default();
        hash.update(b"one");
        hash.finish();
        hash.update(b"two");
        assert_eq!(hash.finish(), expected(b"two"));
    }

    proptest! {
        /// Pieces of any lengths, together and alone.
        #[test]
        fn streams_do_not_touch_each_other(
            pieces in prop::collection::vec((0usize..40_000, 0usize..40_000, any::<bool>()), 1..6),
        ) {
            let (mut one, mut other) = (Sha256::default(), Sha256::default());
            let mut whole = [Vec::new(), Vec::new()];
            for (a, b, together) in pieces {
                let (a, b) = (bytes(1, a), bytes(2, b));
                if together {
                    update_both([&mut one, &mut other], [&a, &b]);
                } else {
                    one.update(&a);
                    other.update(&b);
                }
                whole[0].extend(a);
                whole[1].extend(b);
            }
            prop_assert_eq!([one.finish(), other.finish()], whole.map(|bytes| expected(&bytes)));
        }
    }
}

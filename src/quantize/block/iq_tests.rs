//! Tests of the types with grids: answers of the reference, what it stops at, and its ways with empty blocks.
//!
//! A scalar double of these searches would be the kernels once more. What holds them are the reference's own bytes: the
//! hashes below at every level, and those of tests/integration/quantize.rs, where some 350 thousand awkward weights in
//! four models meet every method, without importance and with two kinds of it.

use super::lattice;
use super::testing::{at_every_level, check_hashes, known_row};
use crate::gguf::GgmlType::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS};

/// Hashes of what `quantize_iq*` of llama-cpp-python 0.3.36 (ggml 0.25.3, x86-64, gcc -O3 without -march) wrote, by
/// `known_importance(1280)` and, where it can, without.
#[test]
fn the_reference_wrote_the_same() {
    check_hashes(
        IQ1_S,
        true,
        [
            "21705aac4febb77b7ce5761b1cbaa99c539c79a961e447f7ffc0ae74a98ecfd3",
            "214116ed4846d2445f8179ab539e9f9fde2c96fcac1f2dbefde2c30fe75f5a0a",
        ],
    );
    check_hashes(
        IQ1_M,
        true,
        [
            "71e5aa768eab631c47de22baeb05b0108911a3dce9da2458b45e81b906d6a349",
            "110119bfce2cf8043d6ed540dc07212f40dd7e84d9a6e34ca266e65552e24380",
        ],
    );
    check_hashes(
        IQ1_M,
        false,
        [
            "b0a344f8bfd0ee71d1bf1872696b8dd639a9817bd6aa3dcae0865c41998eea8f",
            "bc7b94def735cfac7991ae71beb82f2caf0110f17e207ec12a3b51e38a605d9a",
        ],
    );
    check_hashes(
        IQ2_XXS,
        true,
        [
            "a69996a2e8bada0bb20207394eee6a19e292207c347280e25157cf2e2a4162d4",
            "24ae07b7813b28c3781ad8ea1642da926f1c53abfa548024c74c4fc729748f17",
        ],
    );
    check_hashes(
        IQ2_XS,
        true,
        [
            "eb1117d0d11fe97b4d68205d04f86169b50e0ef4931a2f82451f4634c9bfc59b",
            "436d4d98f77b05680817aa9c8cdfc7c7bbee0edec9306d8f9307438fc19c5822",
        ],
    );
    check_hashes(
        IQ2_S,
        true,
        [
            "0023617d559ee5c6a3a1c0917b747c28b606e39fae1abb74887b01fc7681d346",
            "a6844324d1c4f6325c755ab43567f6bc8ef69f1994a848e02285dcdaab1ad307",
        ],
    );
    check_hashes(
        IQ2_S,
        false,
        [
            "388e7101cfdaa3b422a914eace42689d3279e5659d3c27c2a53f7d74a8b895fe",
            "4f0cfd4503ea7d7e44d2eac02b1e3a8cd79ddd65130137aaae02ad2100b27fa5",
        ],
    );
    check_hashes(
        IQ3_XXS,
        true,
        [
            "480c63b3e470edc29477fdd21a6ad3096558f4100bdeea1223e0fbd53c69d27f",
            "dc686cb484e7c2e733771d0fc94086602a7b6722d456482db06201b217b954f3",
        ],
    );
    check_hashes(
        IQ3_XXS,
        false,
        [
            "d1a518330e1988c350c1f3f95db2bc1addc541bc56c10ebaaece5afe32c9ff9a",
            "e8289f2783a51c3873b6834dc3ba1f67767b20ca470c791ceddcee5819e488b4",
        ],
    );
    check_hashes(
        IQ3_S,
        true,
        [
            "6917a4aa13c25481ca34c774761b0a811605377307b104867e4760587da5b6d5",
            "574c4c864e1899bc675dae89e78d3849b1cf774d9c8ef76f55215190a8abab75",
        ],
    );
    check_hashes(
        IQ3_S,
        false,
        [
            "877fee007b855e9fc8bc7505d69461b38adf5026d35f361c9c4d9639aa936291",
            "75c117fc044faecb15433db064d1cbc21555745c7f95405fb52fb06e99fe5d21",
        ],
    );
}

#[test]
fn empty_rows_are_zeros() {
    for ty in [IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S] {
        at_every_level(|level| {
            let mut out = vec![1; ty.bytes_of(512).unwrap() as usize];
            super::quantize(ty, &[0.0; 512], 512, Some(&[1.0; 512]), &mut out);
            assert!(out.iter().all(|&b| b == 0), "{ty} with {level}");
        });
    }
}

/// IQ3_S leaves no room for a block without values, so that later points move up (as the reference's pointers do).
#[test]
fn iq3_s_moves_points_over_empty_blocks() {
    let mut x = known_row(256);
    x[..32].fill(0.0);
    let (mut late, mut early) = (vec![0; 110], vec![0; 110]);
    super::quantize(IQ3_S, &x, 256, None, &mut late);
    x.rotate_left(32);
    super::quantize(IQ3_S, &x, 256, None, &mut early);
    assert_eq!(late[2..66], early[2..66], "points");
    assert_eq!(late[74..106], early[74..106], "signs");
    assert_eq!(late[67..74], early[66..73], "upper bits");
}

/// Importance that gives no finite cost to any neighbour, where the reference stops.
#[test]
fn what_has_no_cost_still_has_a_point() {
    for ty in [IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S] {
        let x: Vec<f32> = known_row(256).iter().map(|x| x * 1e19).collect();
        at_every_level(|_| super::quantize(ty, &x, 256, Some(&[1e30; 256]), &mut vec![0; ty.block_bytes()]));
    }
}

/// What the reference's tables hold for digits that are no point: the nearest in order of distance, then of place.
#[test]
fn neighbours_are_sorted_by_distance_and_place() {
    lattice::tests::check_neighbours(lattice::iq2_xxs(), 2);
    lattice::tests::check_neighbours(lattice::iq3_s(), 3);
}

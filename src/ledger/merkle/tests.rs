//! The vectors of the RFC's own implementation, and the RFC's definitions word by word, against what
//! streams.

use proptest::prelude::*;

use super::*;

/// The leaves of Certificate Transparency's reference implementation (`merkletree/merkle_tree_test.cc`).
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];

/// The roots of the trees of the first leaf, the first two, and so on.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn hash(hex: &str) -> Hash {
    bytes(hex).try_into().unwrap()
}

/// So many different leaves.
fn leaves(count: u64) -> Vec<Hash> {
    (0..count)
        .map(|it| leaf_hash(&[&it.to_le_bytes()]))
        .collect()
}

/// MTH of RFC 9162, section 2.1.1, as it stands there.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest(b"").into(),
        [one] => *one,
        more => {
            let k = split(more.len() as u64) as usize;
            node_hash(&mth(&more[..k]), &mth(&more[k..]))
        }
    }
}

/// PATH of section 2.1.3.1.
fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = split(leaves.len() as u64) as usize;
    let (mut below, next) = match m < k {
        true => (path(m, &leaves[..k]), mth(&leaves[k..])),
        false => (path(m - k, &leaves[k..]), mth(&leaves[..k])),
    };
    below.push(next);
    below
}

/// SUBPROOF of section 2.1.4.1.
fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return match whole {
            true => Vec::new(),
            false => vec![mth(leaves)],
        };
    }
    let k = split(leaves.len() as u64) as usize;
    let (mut below, next) = match m <= k {
        true => (subproof(m, &leaves[..k], whole), mth(&leaves[k..])),
        false => (subproof(m - k, &leaves[k..], false), mth(&leaves[..k])),
    };
    below.push(next);
    below
}

fn roots(ranges: Vec<Range<u64>>, leaves: &[Hash]) -> Vec<Hash> {
    let mut roots = Roots::new(ranges);
    for (index, leaf) in (0..).zip(leaves) {
        roots.see(index, *leaf);
    }
    roots.finish().unwrap()
}

#[test]
fn the_roots_are_those_of_the_reference_implementation() {
    let mut frontier = Frontier::default();
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(frontier.root(), hash(nothing));
    for (leaf, root) in LEAVES.iter().zip(ROOTS) {
        frontier.push(leaf_hash(&[&bytes(leaf)]));
        assert_eq!(frontier.root(), hash(root));
    }
}

#[test]
fn the_paths_are_those_of_the_reference_implementation() {
    let all: Vec<Hash> = LEAVES.iter().map(|it| leaf_hash(&[&bytes(it)])).collect();
    let path = |index, size: usize| roots(inclusion(index, size as u64), &all[..size]);
    assert_eq!(
        path(0, 8),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
        .map(hash)
    );
    assert_eq!(
        path(5, 8),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
        .map(hash)
    );
    let proof = roots(consistency(6, 8), &all);
    assert_eq!(
        proof,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
        .map(hash)
    );
}

#[test]
fn every_proof_of_every_small_tree_is_as_the_rfc_defines_it_and_holds() {
    for size in 1..=40_usize {
        let all = leaves(size as u64);
        let root = mth(&all);
        for index in 0..size {
            let found = roots(inclusion(index as u64, size as u64), &all);
            assert_eq!(found, path(index, &all));
            let (at, of) = (index as u64, size as u64);
            assert!(is_included(all[index], at, of, &found, &root));
            assert!(!is_included(all[index], at + 1, of, &found, &root));
        }
        for older in 1..=size {
            let found = roots(consistency(older as u64, size as u64), &all);
            assert_eq!(found, subproof(older, &all, true));
            let (old, new) = ((older as u64, mth(&all[..older])), (size as u64, root));
            assert!(is_consistent(old, new, &found), "{older} {size}");
            assert_eq!(is_consistent(new, old, &found), older == size);
        }
    }
}

#[test]
fn all_trees_begin_with_none_and_no_tree_proves_another() {
    let root = mth(&leaves(7));
    let none = Frontier::default().root();
    assert!(is_consistent((0, none), (7, root), &[]));
    assert!(!is_consistent((0, root), (7, root), &[]));
    assert!(!is_consistent((7, root), (7, none), &[]));
    assert!(!is_consistent((3, root), (7, root), &[]));
    assert!(!is_included(root, 0, 0, &[], &root));
    assert!(inclusion(7, 7).is_empty());
}

proptest! {
    #[test]
    fn what_grows_leaf_by_leaf_has_the_root_that_is_defined(size in 0..600_u64) {
        let all = leaves(size);
        let mut frontier = Frontier::default();
        all.iter().for_each(|leaf| frontier.push(*leaf));
        prop_assert_eq!(frontier.root(), mth(&all));
        prop_assert_eq!(frontier.size(), size);
    }

    #[test]
    fn a_proof_holds_for_its_leaf_and_place_and_for_no_other(
        size in 2..400_u64, at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), bit in 0..256_usize,
    ) {
        let all = leaves(size);
        let (index, other) = (at.index(size as usize) as u64, other.index(size as usize) as u64);
        let (path, root) = (roots(inclusion(index, size), &all), mth(&all));
        let leaf = all[index as usize];
        prop_assert!(is_included(leaf, index, size, &path, &root));
        prop_assert_eq!(is_included(leaf, other, size, &path, &root), other == index);
        prop_assert_eq!(is_included(all[other as usize], index, size, &path, &root), other == index);
        let mut wrong = path.clone();
        wrong[bit % path.len()][bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!is_included(leaf, index, size, &wrong, &root));
        wrong.truncate(path.len() - 1);
        prop_assert!(!is_included(leaf, index, size, &wrong, &root));
        prop_assert!(!is_included(leaf, index, size, &[&path[..], &[root]].concat(), &root));
    }

    #[test]
    fn a_tree_that_changed_an_older_leaf_is_consistent_with_nothing_older(
        size in 2..400_u64, older in any::<prop::sample::Index>(), changed in any::<prop::sample::Index>(),
    ) {
        let all = leaves(size);
        let older = older.index(size as usize - 1) as u64 + 1;
        let old = (older, mth(&all[..older as usize]));
        let mut forged = all.clone();
        forged[changed.index(older as usize)] = [7; 32];
        for (leaves, honest) in [(&all, true), (&forged, false)] {
            let path = roots(consistency(older, size), leaves);
            prop_assert_eq!(is_consistent(old, (size, mth(leaves)), &path), honest);
        }
    }
}

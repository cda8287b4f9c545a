//! An append-only Merkle tree: RFC 6962, section 2.1, which RFC 9162, section 2.1, has unchanged.
//!
//! Trees are far larger than what one wants to hold, and their leaves lie in a file. So nothing here
//! holds a tree: a [`Frontier`] grows by a leaf at a time, and a proof is a list of
//! [ranges of leaves](inclusion) whose roots whoever reads the file [collects](Roots) on the way.

use std::ops::Range;

use sha2::{Digest, Sha256};

/// SHA-256, of a leaf or of a node.
pub type Hash = [u8; 32];

const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// The hash of a leaf whose data are these parts, one behind the other.
pub fn leaf_hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new_with_prefix(LEAF);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new_with_prefix(NODE);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// The right edge of a tree: all that it takes to go on with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The roots of the perfect trees that it is made of, the largest first: a bit of `size` each.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let equals = self.size.trailing_ones() as usize;
        let from = self.peaks.len().saturating_sub(equals);
        let merged = self.peaks.drain(from..).rev();
        let peak = merged.fold(leaf, |right, left| node_hash(&left, &right));
        self.peaks.push(peak);
        self.size += 1;
    }

    /// The root: of no leaf at all, the hash of nothing.
    pub fn root(&self) -> Hash {
        let peaks = self.peaks.iter().rev().copied();
        let root = peaks.reduce(|right, left| node_hash(&left, &right));
        root.unwrap_or_else(|| Sha256::digest(b"").into())
    }
}

/// The largest power of two below `size`, which is two at least.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The path from a leaf to the root of a tree of so many: the roots of these ranges, the lowest
/// first (RFC 9162, section 2.1.3.1). Nothing if there is no such leaf.
pub fn inclusion(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut path = Vec::new();
    if index >= size {
        return path;
    }
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(middle..to);
            to = middle;
        } else {
            path.push(from..middle);
            from = middle;
        }
    }
    path.reverse();
    path
}

/// What shows that the first so many leaves of a tree are those of an older one: the roots of these
/// ranges (RFC 9162, section 2.1.4.1). Nothing where nothing has to be shown.
pub fn consistency(older: u64, size: u64) -> Vec<Range<u64>> {
    let mut path = Vec::new();
    if older == 0 || older >= size {
        return path;
    }
    let (mut from, mut to) = (0, size);
    while older < to {
        let middle = from + split(to - from);
        if older <= middle {
            path.push(middle..to);
            to = middle;
        } else {
            path.push(from..middle);
            from = middle;
        }
    }
    // The older tree's own root is known to whoever asks.
    if from > 0 {
        path.push(from..to);
    }
    path.reverse();
    path
}

/// The roots of some ranges of leaves, of leaves that are shown in order.
#[derive(Debug)]
pub struct Roots {
    ranges: Vec<(Range<u64>, Frontier)>,
}

impl Roots {
    /// Of these.
    pub fn new(ranges: impl IntoIterator<Item = Range<u64>>) -> Roots {
        let ranges = ranges.into_iter().map(|range| (range, Frontier::default()));
        Roots {
            ranges: ranges.collect(),
        }
    }

    /// The next leaf.
    pub fn see(&mut self, index: u64, leaf: Hash) {
        let wanted = self.ranges.iter_mut();
        for (_, frontier) in wanted.filter(|(range, _)| range.contains(&index)) {
            frontier.push(leaf);
        }
    }

    /// The roots, in the order of the ranges. None if not all leaves were shown.
    pub fn finish(self) -> Option<Vec<Hash>> {
        let root = |(range, frontier): (Range<u64>, Frontier)| {
            (frontier.size() == range.end - range.start).then(|| frontier.root())
        };
        self.ranges.into_iter().map(root).collect()
    }
}

/// Where a verifier stands between a leaf and the root: the position of its node on this level, and
/// of the level's last.
struct Climb {
    node: u64,
    last: u64,
}

impl Climb {
    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    /// Whether what comes next belongs to the left. None above the root.
    fn is_left(&mut self) -> Option<bool> {
        if self.last == 0 {
            return None;
        }
        let left = self.node & 1 == 1 || self.node == self.last;
        if left {
            while self.node & 1 == 0 && self.node != 0 {
                self.up();
            }
        }
        self.up();
        Some(left)
    }
}

/// Whether a leaf is the one with this index in the tree of so many leaves with this root (RFC 9162,
/// section 2.1.3.2).
pub fn is_included(leaf: Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let mut climb = Climb {
        node: index,
        last: size - 1,
    };
    let mut hash = leaf;
    for other in path {
        hash = match climb.is_left() {
            None => return false,
            Some(true) => node_hash(other, &hash),
            Some(false) => node_hash(&hash, other),
        };
    }
    climb.last == 0 && hash == *root
}

/// A tree as two who compare theirs know it: how many leaves, and its root.
pub type Known = (u64, Hash);

/// Whether a tree begins with all leaves of an older one (RFC 9162, section 2.1.4.2).
pub fn is_consistent(older: Known, newer: Known, path: &[Hash]) -> bool {
    let ((first, first_root), (second, second_root)) = (older, newer);
    if first == 0 {
        return path.is_empty() && first_root == Frontier::default().root();
    }
    if first >= second {
        return first == second && path.is_empty() && first_root == second_root;
    }
    let mut climb = Climb {
        node: first - 1,
        last: second - 1,
    };
    while climb.node & 1 == 1 {
        climb.up();
    }
    // A perfect tree is its own first peak.
    let (start, rest) = match path.split_first() {
        _ if first.is_power_of_two() => (first_root, path),
        Some((start, rest)) => (*start, rest),
        None => return false,
    };
    let (mut old, mut new) = (start, start);
    for other in rest {
        match climb.is_left() {
            None => return false,
            Some(true) => {
                old = node_hash(other, &old);
                new = node_hash(other, &new);
            }
            Some(false) => new = node_hash(&new, other),
        }
    }
    climb.last == 0 && old == first_root && new == second_root
}

#[cfg(test)]
mod tests;

//! The tree's file, whatever has become of it: what is read is what was written, up to where it ends,
//! and a tail that is cut anywhere costs nothing before it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use srpd::control::notary::roll::{RollError, read};
use srpd::ledger::tree::{HEADER_BYTES, Record, header};

use crate::dice::Dice;

/// Records, and where they end. None: it isn't a tree, or is damaged.
fn records(file: &File, bytes: &[u8]) -> Option<(Vec<Record>, usize)> {
    file.set_len(0).expect("it is emptied");
    file.write_all_at(bytes, 0).expect("it is written");
    let mut file = file;
    std::io::Seek::rewind(&mut file).expect("it is rewound");
    let (mut records, mut size, mut written) = (Vec::new(), 0, Vec::new());
    let found = read(file, |record, at, frontier| {
        if records.is_empty() {
            written = header(record.signed.head.tree).to_vec();
        }
        assert_eq!(at, written.len() as u64);
        written.extend(record.encode());
        let head = &record.signed.head;
        assert_eq!(head.size, size + record.leaves.len() as u64);
        assert_eq!((head.size, head.root), (frontier.size(), frontier.root()));
        size = head.size;
        records.push(record);
        Ok::<(), RollError>(())
    });
    let (tree, frontier, end) = match found {
        Ok(found) => found,
        Err(why) => {
            assert!(!why.to_string().is_empty());
            return None;
        }
    };
    if records.is_empty() {
        written = header(tree).to_vec();
    }
    assert_eq!((end, frontier.size()), (written.len() as u64, size));
    assert_eq!(bytes[..written.len()], written);
    Some((records, written.len()))
}

/// Reads the input as a file, and if it is one, what is left of it when it is cut.
pub fn run(bytes: &[u8]) {
    let file = tempfile::tempfile().expect("a file");
    let Some((whole, end)) = records(&file, bytes) else {
        return;
    };
    let cut = HEADER_BYTES + Dice::of(bytes).below(end - HEADER_BYTES + 1);
    let (left, end) = records(&file, &bytes[..cut]).expect("a torn tail is no damage");
    assert_eq!(left, whole[..left.len()]);
    // All that are whole are there.
    let next = whole.get(left.len());
    assert!(next.is_none_or(|record| end + record.encoded_bytes() > cut));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_notary_has_written_is_read() {
        let notary = crate::notary::notary();
        let file = tempfile::tempfile().expect("a file");
        let (found, end) = records(&file, &notary.file).expect("a tree");
        assert_eq!((found.len(), end), (2, notary.file.len()));
        run(&notary.file);
    }
}

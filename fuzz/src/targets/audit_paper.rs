//! Heads and proofs that somebody hands over: nothing is proven by them but what was signed.

use crate::notary::notary;

/// Reads the input as a paper. Nobody can sign in the notary's name, so one that proves something says
/// what one of the notary's says.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let notary = notary();
    let proven = match srpd::cli::proven(text, notary.key.public_key()) {
        Ok(proven) => proven,
        Err(why) => return assert!(!why.is_empty()),
    };
    let is_signed = |head: &serde_json::Value| {
        let same = |theirs: &&serde_json::Value| {
            ["size", "time"].iter().all(|it| theirs[it] == head[it])
                && ["tree", "root"]
                    .iter()
                    .all(|it| lower(&theirs[it]) == lower(&head[it]))
        };
        notary.heads.iter().any(|theirs| same(&theirs))
    };
    assert!(is_signed(&proven["head"]), "{proven}");
    if let Some(since) = proven.get("since") {
        assert!(is_signed(since), "{proven}");
    }
    if let Some(entry) = proven.get("entry") {
        let known = |proof: &serde_json::Value| proof["id"] == entry["id"];
        assert!(notary.proofs.iter().any(known), "{proven}");
        assert_eq!(
            (&entry["key"], &entry["provider"], &proven["border"]),
            (&"acme".into(), &"aloomu".into(), &"inside".into())
        );
    }
}

/// Hexadecimal digits may be of either case.
fn lower(text: &serde_json::Value) -> Option<String> {
    text.as_str().map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_notary_has_written_is_proven() {
        let notary = notary();
        let papers = notary.heads.iter().chain(&notary.proofs);
        for paper in papers.chain([&notary.consistency]) {
            let proven = srpd::cli::proven(&paper.to_string(), notary.key.public_key());
            assert_eq!(proven.expect("proven")["proven"], true, "{paper}");
            run(paper.to_string().as_bytes());
        }
    }
}

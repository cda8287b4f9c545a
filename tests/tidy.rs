//! The repository checks itself: the floors of docs/ARCHITECTURE.md, the place of `unsafe`, the
//! length of files, that nothing was left behind, and that what documents name is there. Each
//! check is a function of file contents, tested beside its definition on contents that break the
//! rule.

use std::path::Path;

#[path = "tidy/promises.rs"]
mod promises;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/text.rs"]
mod text;

use source::Source;

fn assert_none(what: &str, check: impl Fn(&[Source]) -> Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = source::read_all(root).expect("the repository can be read");
    assert!(
        sources.iter().any(|source| source.path == "src/lib.rs"),
        "nothing was checked"
    );
    let complaints = check(&sources);
    assert!(
        complaints.is_empty(),
        "{what}:\n  {}",
        complaints.join("\n  ")
    );
}

#[test]
fn rooms_import_from_lower_floors_only() {
    assert_none("imports that go up or sideways", rooms::misplaced_imports);
}

#[test]
fn pure_rooms_are_functions_of_their_arguments() {
    assert_none("impurities", rooms::impurities);
}

#[test]
fn modules_do_not_need_each_other_in_a_circle() {
    assert_none("cycles", rooms::cycles);
}

#[test]
fn files_are_short() {
    assert_none("over 600 lines", text::too_long);
}

#[test]
fn unsafe_stays_in_its_place_with_its_reason() {
    assert_none("unsafe", text::careless_unsafe);
}

#[test]
fn nothing_is_left_undone() {
    assert_none("left behind", text::leftovers);
}

#[test]
fn the_way_of_a_call_never_gives_up() {
    assert_none("unwraps", text::unwraps);
}

#[test]
fn every_file_says_what_it_is() {
    assert_none("without a //! doc", text::undescribed);
}

#[test]
fn fuzz_targets_are_known_everywhere() {
    assert_none("targets", text::unknown_targets);
}

#[test]
fn nothing_points_outside_the_repository() {
    assert_none("mentions", text::elsewhere);
}

#[test]
fn unwanted_crates_stay_out() {
    assert_none("dependencies", text::unwanted);
}

#[test]
fn documents_name_what_is_there() {
    assert_none("named in documents and not there", promises::dangling);
}

#[test]
fn promises_name_their_tests() {
    assert_none("promised without a test", promises::unproven);
}

//! Skeleton: types only.
use std::collections::BTreeMap;

/// x
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jurisdiction(pub(super) u8);
/// x
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JurisdictionSet(pub(super) [u64; 4]);
/// x
#[derive(Clone, Debug, Default)]
pub struct Groups(pub(super) BTreeMap<String, JurisdictionSet>);

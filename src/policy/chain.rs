//! Skeleton: types only.
use super::residency::Jurisdiction;
/// x
#[derive(Clone, Debug)]
pub struct Chain {
    pub(super) links: Vec<Link>,
}
/// x
#[derive(Clone, Debug)]
pub struct Link {
    /// x
    pub provider: u16,
    /// x
    pub jurisdiction: Jurisdiction,
    /// x
    pub backstop: bool,
}

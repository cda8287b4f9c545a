//! What is left to a successor, and what other processes of the instance have in use.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::legacy::{Legacy, Other, Reserved, Spot};
use super::Desk;
use crate::base::ProviderId;
use crate::market::occupancy::Share;
use crate::market::{Occupancy, Place};
use crate::tables::Reserve;
use crate::tables::routes::{Provider, Right};

/// What is counted here for calls of another process.
#[derive(Default)]
pub(super) struct Foreign {
    slots: HashMap<ProviderId, Occupancy>,
    reserved: HashMap<(String, Spot), (Arc<Reserve>, u32)>,
}

/// Floating calls beyond what there is room for, by provider.
pub type Excess = HashMap<ProviderId, u32>;

const SHARES: [Share; 3] = [Share::Own, Share::Zone, Share::Floating];

impl Desk {
    /// What a successor is to know before it serves.
    pub fn legacy(&self) -> Legacy {
        let drains = self.drains.iter();
        Legacy {
            drains: drains.map(|(a, b)| (a.to_owned(), b.to_owned())).collect(),
            ..self.in_use_but_by(Other::Successor)
        }
    }

    /// What calls occupy, in this process and those that it hears of, but for one.
    pub fn in_use_but_by(&self, other: Other) -> Legacy {
        let (market, foreign) = (self.board.market(), self.foreign(other));
        let slots = self.with_slots().filter_map(|(provider, _)| {
            let occupancy = market.occupancy(provider.id);
            let theirs = foreign.slots.get(&provider.id).copied();
            let theirs = theirs.unwrap_or_default();
            let counts =
                SHARES.map(|share| occupancy.count(share).saturating_sub(theirs.count(share)));
            (counts != [0; 3]).then(|| (provider.name.to_string(), counts))
        });
        let reserved = self.rights().filter_map(|(key, place, reserve)| {
            let place = (key.to_owned(), place);
            let theirs = foreign.reserved.get(&place).map_or(0, |(_, used)| *used);
            let used = reserve.used().saturating_sub(theirs);
            let (key, place) = place;
            (used > 0).then_some(Reserved { key, place, used })
        });
        Legacy {
            drains: Vec::new(),
            slots: slots.collect(),
            reserved: reserved.collect(),
        }
    }

    /// Takes over all that a predecessor has said.
    pub fn inherit(&mut self, legacy: &Legacy) {
        for (provider, endpoint) in &legacy.drains {
            // There were no more of them there.
            let _ = self.drains.set(provider, endpoint, true);
        }
        if !legacy.drains.is_empty() {
            self.rebuild(self.clock.now());
        }
        self.count(Other::Predecessor, legacy);
    }

    /// Counts what another process's calls occupy now, in place of what they did.
    pub fn count(&mut self, other: Other, theirs: &Legacy) {
        let market = self.board.market();
        let before = self.foreign(other);
        let mut slots = HashMap::new();
        for (provider, _) in self.with_slots() {
            if let Some(counts) = theirs.slots.get(&*provider.name) {
                slots.insert(provider.id, Occupancy::of(*counts));
            }
        }
        let new = slots.keys().filter(|it| !before.slots.contains_key(it));
        for &provider in before.slots.keys().chain(new) {
            let of = |all: &HashMap<_, _>| all.get(&provider).copied().unwrap_or_default();
            market.recount(provider, of(&before.slots), of(&slots));
        }
        let said = theirs.reserved.iter();
        let said: HashMap<_, _> = said.map(|it| ((&*it.key, &it.place), it.used)).collect();
        let mut reserved = HashMap::new();
        for (key, place, reserve) in self.rights() {
            if let Some(&used) = said.get(&(key, &place)) {
                reserved.insert((key.to_owned(), place), (Arc::clone(reserve), used));
            }
        }
        for (place, (reserve, counted)) in &before.reserved {
            let used = reserved.get(place).map_or(0, |(_, used)| *used);
            reserve.recount(*counted, used);
        }
        for (place, (reserve, used)) in &reserved {
            if !before.reserved.contains_key(place) {
                reserve.recount(0, *used);
            }
        }
        self.foreign[other as usize] = Foreign { slots, reserved };
    }

    /// Whether a predecessor still has calls that occupy slots: whoever takes this one's place hears
    /// of them from here.
    pub(super) fn speaks_for_predecessor(&self) -> bool {
        let foreign = self.foreign(Other::Predecessor);
        !(foreign.slots.is_empty() && foreign.reserved.is_empty())
    }

    /// Curtails floating calls here that are too many and were at the last look: a firm call in the
    /// successor has curtailed one there before that, if there was one. Returns what are too many.
    pub fn relieve(&self, before: &Excess) -> Excess {
        let market = self.board.market();
        let excess = self.with_slots().map(|(provider, capacity)| {
            let excess = market.occupancy(provider.id).excess(capacity);
            let lasting = before.get(&provider.id).copied().unwrap_or(0).min(excess);
            for _ in 0..lasting {
                // Each core looks once a tick whether it is asked.
                if market.curtail(provider.id).is_none() {
                    break;
                }
            }
            (provider.id, excess - lasting)
        });
        excess.collect()
    }

    fn foreign(&self, other: Other) -> &Foreign {
        &self.foreign[other as usize]
    }

    fn with_slots(&self) -> impl Iterator<Item = (&Provider, u32)> {
        let providers = self.routes.providers.iter();
        providers.filter_map(|it| Some((it, it.capacity?.get())))
    }

    /// Every key's name, place and reservations.
    fn rights(&self) -> impl Iterator<Item = (&str, Spot, &Arc<Reserve>)> {
        let keys = self.config.keys.iter();
        let keys = keys.filter_map(|key| Some((&*key.name, self.routes.keys.get(&key.sha256)?)));
        keys.flat_map(move |(name, key)| {
            let rights = self.routes.rights_of(key).iter();
            rights.filter_map(move |right| {
                let reserve = self.routes.reserves.get(right.reserve.index())?;
                Some((name, self.spot(right)?, reserve))
            })
        })
    }

    fn spot(&self, right: &Right) -> Option<Spot> {
        match right.place {
            Place::Provider(id) => {
                let mut providers = self.routes.providers.iter();
                let provider = providers.find(|it| it.id == id)?;
                Some(Spot::Provider(provider.name.to_string()))
            }
            Place::Zone(zone) => Some(Spot::Jurisdiction(zone.code().to_owned())),
        }
    }
}

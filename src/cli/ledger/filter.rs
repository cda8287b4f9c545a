//! Which calls are meant.

use jiff::Timestamp;

use crate::ledger::{Entry, EntryId, Header};
use crate::telemetry::Outcome;

/// Which calls: those that fit everything that is given
#[derive(clap::Args, Default)]
pub(super) struct Filter {
    /// Of this key
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// For this capability
    #[arg(long, value_name = "NAME")]
    capability: Option<String>,
    /// Served by this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Served in this jurisdiction, such as au
    #[arg(long, value_name = "CODE")]
    jurisdiction: Option<String>,
    /// That ended so: completed, failed, client_gone or cut
    #[arg(long, value_name = "OUTCOME", value_parser = outcome)]
    outcome: Option<Outcome>,
    /// That began at this time or after it, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// That began before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// With this id, as the ledger shows it
    #[arg(long, value_name = "ID")]
    id: Option<EntryId>,
    /// With this x-request-id
    #[arg(long, value_name = "TEXT")]
    request_id: Option<String>,
}

fn outcome(text: &str) -> Result<Outcome, String> {
    let known = Outcome::ALL.into_iter().find(|it| it.label() == text);
    known.ok_or_else(|| "expected completed, failed, client_gone or cut".to_owned())
}

fn is<T: PartialEq>(wanted: Option<T>, found: Option<T>) -> bool {
    wanted.is_none() || wanted == found
}

impl Filter {
    /// Whether a segment with this stem could have what is meant.
    pub(super) fn may_have(&self, stem: &str) -> bool {
        self.id
            .is_none_or(|id| stem.starts_with(&format!("{}-{:03}-", id.run, id.core)))
    }

    /// Whether an entry is meant.
    pub(super) fn passes(&self, header: Header, entry: &Entry<'_>) -> bool {
        let call = &entry.call;
        let began = call.began_us;
        let code = call.jurisdiction.as_ref().map(<[u8; 2]>::as_slice);
        let id = EntryId {
            run: header.run,
            core: header.core,
            call: call.number,
        };
        is(self.key.as_deref(), Some(call.key))
            && is(self.capability.as_deref(), Some(call.capability))
            && is(self.jurisdiction.as_deref().map(str::as_bytes), code)
            && is(self.outcome, Some(call.outcome))
            && self.from.is_none_or(|from| began >= from.as_microsecond())
            && self
                .until
                .is_none_or(|until| began < until.as_microsecond())
            && is(self.id, Some(id))
            && is(self.request_id.as_deref(), Some(call.request_id))
            && (self.provider.is_none() || self.provider.as_deref() == entry.provider())
    }
}

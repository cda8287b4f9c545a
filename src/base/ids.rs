//! Names as numbers. The office gives every provider, endpoint, capability and key an id that
//! stays the same for the life of the process, across reloads: counters, breakers and pools are
//! indexed by it, and records carry it instead of text. An id is never given to another name, but
//! for that of an endpoint which has been gone for longer than anybody can remember it.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $max:ident = $limit:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u16);

        impl $name {
            /// The id as an index into a table of that kind.
            #[inline]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        /// How many distinct names of this kind a process can see between start and exit.
        pub const $max: usize = $limit;
    };
}

id!(
    /// A provider: `[[provider]] name`.
    ProviderId, PROVIDERS_MAX = 256
);
id!(
    /// One endpoint of one provider: the pair of provider name and URL.
    EndpointId, ENDPOINTS_MAX = 1024
);
id!(
    /// A capability: `[[capability]] name`.
    CapabilityId, CAPABILITIES_MAX = 256
);
id!(
    /// A client key: `[[key]] name`.
    KeyId, KEYS_MAX = 65_535
);

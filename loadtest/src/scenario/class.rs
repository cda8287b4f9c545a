//! Classes of traffic: what their calls ask for, and how large they are.

use rand::RngExt;

use super::trace::Recorded;
use crate::prompts::Lengths;
use crate::random;

/// An endpoint of OpenAI's API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// `chat/completions`
    #[default]
    Chat,
    /// `completions`
    Completions,
    /// `embeddings`
    Embeddings,
}

impl Endpoint {
    /// Below the base.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Chat => "/chat/completions",
            Endpoint::Completions => "/completions",
            Endpoint::Embeddings => "/embeddings",
        }
    }
}

/// Beginnings that prompts share, as those of system prompts do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prefixes {
    /// So many different ones.
    pub count: u64,
    /// Tokens of each, in front of the prompt's own.
    pub tokens: Lengths,
    /// The share of calls that have one.
    pub share: f64,
}

/// A class of traffic.
#[derive(Clone, Debug)]
pub struct Class {
    /// Its name in reports.
    pub name: String,
    /// Its part of all calls, against the other classes' weights.
    pub weight: f64,
    /// What is called.
    pub endpoint: Endpoint,
    /// Whether answers are streamed.
    pub stream: bool,
    /// What `model` says: a capability.
    pub model: String,
    /// The client's key.
    pub key: Option<String>,
    /// Fields to send along.
    pub headers: Vec<(String, String)>,
    /// Tokens of a prompt.
    pub prompt: Lengths,
    /// `max_tokens`, if it is sent.
    pub output: Option<Lengths>,
    /// Shared beginnings.
    pub prefixes: Option<Prefixes>,
}

/// One call, as far as it differs from others of its class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape<'t> {
    /// The class, by place.
    pub class: usize,
    /// The text that no other call has, by name and tokens.
    pub own: (u64, u32),
    /// The text in front of it that others have too.
    pub prefix: Option<(u64, u32)>,
    /// Texts of [`super::trace::BLOCK_TOKENS`] each that the prompt begins with instead.
    pub blocks: &'t [u64],
    /// `max_tokens`, if it is sent.
    pub output: Option<u32>,
}

/// What names of texts of different kinds are told apart by.
const OWN: u64 = 0x6f77_6e00_0000_0000;
const PREFIX: u64 = 0x7072_6500_0000_0000;
const BLOCK: u64 = 0x626c_6f00_0000_0000;

/// The name of a block's text.
pub fn block_name(id: u64) -> u64 {
    random::mix(id ^ BLOCK)
}

/// What call `number` is like: a function of that and the seed. A trace says what it knows.
pub fn shape<'t>(
    classes: &[Class],
    seed: u64,
    number: u64,
    recorded: Option<&'t Recorded>,
) -> Shape<'t> {
    let mut random = random::of(seed, number);
    let drawn = pick(classes, random.random());
    let class = recorded.and_then(|call| call.class).unwrap_or(drawn);
    let of = &classes[class];
    let own = (
        random::mix(random::mix(seed ^ OWN) ^ number),
        of.prompt.sample(&mut random),
    );
    let output = of.output.map(|lengths| lengths.sample(&mut random));
    let prefix = of.prefixes.and_then(|prefixes| {
        let has = random.random::<f64>() < prefixes.share;
        let which = random.random_range(0..prefixes.count);
        // A prefix is as long each time that it is used.
        let tokens = prefixes
            .tokens
            .sample(&mut random::of(seed ^ PREFIX, which));
        let name = random::mix(random::mix(PREFIX ^ class as u64) ^ which);
        has.then_some((name, tokens))
    });
    let Some(call) = recorded else {
        return Shape {
            class,
            own,
            prefix,
            blocks: &[],
            output,
        };
    };
    let prefix = match call.blocks.is_empty() {
        true => call
            .prefix
            .map(|(id, tokens)| (random::mix(PREFIX ^ random::mix(id)), tokens)),
        false => None,
    };
    Shape {
        class,
        own: (own.0, call.prompt),
        prefix,
        blocks: &call.blocks,
        output: call.output.or(output),
    }
}

/// The class at which that share of all weights lies.
fn pick(classes: &[Class], share: f64) -> usize {
    let total: f64 = classes.iter().map(|class| class.weight).sum();
    let mut left = share * total;
    for (at, class) in classes.iter().enumerate() {
        left -= class.weight;
        if left < 0.0 {
            return at;
        }
    }
    classes.len() - 1
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A class of small streamed chats.
    pub fn class(name: &str, weight: f64) -> Class {
        Class {
            name: name.to_owned(),
            weight,
            endpoint: Endpoint::Chat,
            stream: true,
            model: "smart".to_owned(),
            key: None,
            headers: Vec::new(),
            prompt: Lengths::Uniform(10, 20),
            output: None,
            prefixes: None,
        }
    }

    proptest! {
        #[test]
        fn a_call_is_what_seed_and_number_say(seed: u64, number: u64) {
            let mut classes = [class("a", 1.0), class("b", 2.0)];
            classes[1].prefixes = Some(Prefixes { count: 3, tokens: Lengths::Uniform(5, 9), share: 0.5 });
            let one = shape(&classes, seed, number, None);
            prop_assert_eq!(one, shape(&classes, seed, number, None));
            prop_assert_ne!(one.own.0, shape(&classes, seed, number ^ 1, None).own.0);
            prop_assert!((10..=20).contains(&one.own.1));
        }
    }

    #[test]
    fn classes_come_by_weight() {
        let classes = [class("a", 1.0), class("never", 0.0), class("b", 3.0)];
        let mut counts = [0; 3];
        for number in 0..10_000 {
            counts[shape(&classes, 5, number, None).class] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((2_300..2_700).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn prefixes_are_few_and_constant() {
        let mut only = class("a", 1.0);
        only.prefixes = Some(Prefixes {
            count: 4,
            tokens: Lengths::Uniform(5, 90),
            share: 0.5,
        });
        let shapes: Vec<_> = (0..1000)
            .map(|number| shape(&[only.clone()], 1, number, None))
            .collect();
        let mut seen: Vec<_> = shapes.iter().filter_map(|shape| shape.prefix).collect();
        assert!((400..600).contains(&seen.len()));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 4);
    }
}

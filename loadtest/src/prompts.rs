//! How long prompts and answers are, and what prompts say. Pure. A token is four characters of
//! text, here and in the simulator; a real tokenizer counts this prose somewhat differently.

use std::str::FromStr;
use std::sync::OnceLock;

use rand::RngExt;
use rand_distr::{Distribution as _, Exp, LogNormal, Normal};
use rand_pcg::Pcg64Mcg;

use crate::random;

/// Characters that count as one token.
pub const TOKEN_CHARS: usize = 4;
/// The longest prompt, in tokens.
pub const TOKENS_MAX: u32 = 1_000_000;
/// The tokens of prose that prompts are cut from.
const PROSE_TOKENS: usize = 16 * 1024;
/// Tokens that tell one text from another, at its beginning.
const NAME_TOKENS: usize = 4;

/// A distribution of lengths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lengths {
    /// Always the same.
    Fixed(u32),
    /// Each length from the first to the last equally often.
    Uniform(u32, u32),
    /// Of that mean and standard deviation.
    Normal(Normal<f64>),
    /// Of that median, with the standard deviation of the logarithm.
    Lognormal(LogNormal<f64>),
    /// Of that mean.
    Exponential(Exp<f64>),
}

impl Lengths {
    /// One length, from 1 to [`TOKENS_MAX`].
    pub fn sample(&self, random: &mut Pcg64Mcg) -> u32 {
        let tokens = match self {
            Lengths::Fixed(tokens) => return *tokens,
            Lengths::Uniform(from, to) => return random.random_range(*from..=*to),
            Lengths::Normal(normal) => normal.sample(random),
            Lengths::Lognormal(lognormal) => lognormal.sample(random),
            Lengths::Exponential(exponential) => exponential.sample(random),
        };
        tokens.round().clamp(1.0, f64::from(TOKENS_MAX)) as u32
    }
}

crate::scenario::values::from_text!(Lengths);

/// What a distribution may look like.
const FORMS: &str = "a number of tokens (512), uniform:100..900, normal:MEAN,DEVIATION, \
                     lognormal:MEDIAN,SIGMA or exponential:MEAN";

impl FromStr for Lengths {
    type Err = String;

    fn from_str(text: &str) -> Result<Lengths, String> {
        let wrong = || format!("expected {FORMS}; got {text:?}");
        let length = |text: &str| {
            let tokens = text.trim().parse().ok();
            let within = tokens.filter(|tokens| (1..=TOKENS_MAX).contains(tokens));
            within.ok_or_else(|| format!("expected 1 to {TOKENS_MAX} tokens; got {text:?}"))
        };
        let Some((name, values)) = text.split_once(':') else {
            return match text.trim().parse::<f64>() {
                Ok(_) => length(text).map(Lengths::Fixed),
                Err(_) => Err(wrong()),
            };
        };
        let number = |text: &str| {
            let number = text.trim().parse::<f64>().ok();
            number.filter(|number| *number > 0.0 && number.is_finite())
        };
        let two = |separator| {
            let (first, second) = values.split_once(separator).ok_or_else(wrong)?;
            Ok::<_, String>((
                number(first).ok_or_else(wrong)?,
                number(second).ok_or_else(wrong)?,
            ))
        };
        match name.trim() {
            "uniform" => {
                let (from, to) = values.split_once("..").ok_or_else(wrong)?;
                let (from, to) = (length(from)?, length(to)?);
                match from <= to {
                    true => Ok(Lengths::Uniform(from, to)),
                    false => Err(format!("uniform:{from}..{to}: the first is above the last")),
                }
            }
            "normal" => {
                let (mean, deviation) = two(',')?;
                let normal = Normal::new(mean, deviation).map_err(|_| wrong())?;
                Ok(Lengths::Normal(normal))
            }
            "lognormal" => {
                let (median, sigma) = two(',')?;
                let lognormal = LogNormal::new(median.ln(), sigma).map_err(|_| wrong())?;
                Ok(Lengths::Lognormal(lognormal))
            }
            "exponential" => {
                let mean = number(values).ok_or_else(wrong)?;
                let exponential = Exp::new(1.0 / mean).map_err(|_| wrong())?;
                Ok(Lengths::Exponential(exponential))
            }
            _ => Err(wrong()),
        }
    }
}

/// Prose that needs no escaping in JSON, in words of one token each.
fn prose() -> &'static [u8] {
    static PROSE: OnceLock<Vec<u8>> = OnceLock::new();
    PROSE.get_or_init(|| {
        const WORDS: &[&str; 32] = &[
            "the ", "sea ", "was ", "low ", "and ", "men ", "had ", "all ", "but ", "one ", "way ",
            "out ", "sun ", "set ", "old ", "oak ", "new ", "key ", "for ", "any ", "ask ", "who ",
            "may ", "see ", "far ", "off ", "two ", "air ", "dry ", "not ", "yet ", "ice ",
        ];
        (0..PROSE_TOKENS as u64)
            .flat_map(|at| WORDS[(random::mix(at) % 32) as usize].bytes())
            .collect()
    })
}

/// Appends the text of that name, `tokens` long. Texts of different names differ from their
/// beginning on; a shorter text of a name is the beginning of a longer one.
pub fn append(out: &mut Vec<u8>, name: u64, tokens: u32) {
    let tokens = tokens as usize;
    let mixed = random::mix(name);
    let digits = std::array::from_fn::<u8, { NAME_TOKENS * TOKEN_CHARS }, _>(|at| {
        b"0123456789abcdef"[(mixed >> (60 - 4 * at)) as usize & 15]
    });
    let named = tokens.min(NAME_TOKENS);
    out.extend_from_slice(&digits[..named * TOKEN_CHARS]);
    let mut left = (tokens - named) * TOKEN_CHARS;
    let mut at = mixed as usize % PROSE_TOKENS * TOKEN_CHARS;
    while left > 0 {
        let piece = &prose()[at..];
        let piece = &piece[..piece.len().min(left)];
        out.extend_from_slice(piece);
        left -= piece.len();
        at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(name: u64, tokens: u32) -> Vec<u8> {
        let mut out = Vec::new();
        append(&mut out, name, tokens);
        out
    }

    proptest! {
        #[test]
        fn a_text_has_its_length_and_needs_no_escaping(name: u64, tokens in 0u32..40_000) {
            let text = text(name, tokens);
            prop_assert_eq!(text.len(), tokens as usize * TOKEN_CHARS);
            prop_assert!(text.iter().all(|b| b.is_ascii_alphanumeric() || *b == b' '));
        }

        #[test]
        fn texts_share_what_they_should(a: u64, b: u64, short in 4u32..100, more in 0u32..100) {
            prop_assert!(text(a, short + more).starts_with(&text(a, short)));
            prop_assert!(a == b || text(a, 4) != text(b, 4));
        }

        #[test]
        fn lengths_stay_in_their_bounds(seed: u64, mean in 1.0..1e6f64, spread in 0.1..10.0f64) {
            for form in [format!("lognormal:{mean},{spread}"), format!("normal:{mean},{mean}"),
                         format!("exponential:{mean}"), "uniform:3..9".to_owned()] {
                let lengths: Lengths = form.parse().unwrap();
                let length = lengths.sample(&mut random::of(seed, 0));
                prop_assert!((1..=TOKENS_MAX).contains(&length));
            }
        }
    }

    #[test]
    fn a_lognormal_has_its_median() {
        let lengths: Lengths = "lognormal:512,0.8".parse().unwrap();
        let mut sample: Vec<u32> = (0..10_001)
            .map(|number| lengths.sample(&mut random::of(1, number)))
            .collect();
        sample.sort_unstable();
        assert!((sample[5000] as f64 / 512.0 - 1.0).abs() < 0.05);
        assert!((sample[8413] as f64 / 512.0).ln() > 0.7, "one sigma up");
    }

    #[test]
    fn what_is_no_distribution_is_refused_with_the_forms() {
        for wrong in [
            "",
            "x",
            "0",
            "12.5",
            "uniform:9..3",
            "uniform:5",
            "gauss:1,2",
            "normal:5",
            "lognormal:0,1",
            "lognormal:5,-1",
            "exponential:inf",
            "2000000",
        ] {
            let error = wrong.parse::<Lengths>().unwrap_err();
            assert!(
                error.contains("expected") || error.contains("above"),
                "{wrong}: {error}"
            );
        }
    }
}

//! A KV cache: which beginnings of prompts are still known. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;

use lru::LruCache;

use crate::prompts::TOKEN_CHARS;

/// Tokens of a block, as vLLM has it by default.
pub const BLOCK_TOKENS: usize = 16;

/// Blocks by what they and all before them say; the least recently used ones make room.
pub struct Cache {
    blocks: LruCache<u64, ()>,
}

impl Cache {
    /// Room for so many blocks.
    pub fn new(blocks: NonZeroUsize) -> Cache {
        Cache {
            blocks: LruCache::new(blocks),
        }
    }

    /// How many tokens of the prompt's beginning are known, in whole blocks. All of it is known
    /// from now on.
    pub fn look_up(&mut self, prompt: &[u8]) -> usize {
        let mut known = 0;
        let mut is_beginning = true;
        let mut chain = DefaultHasher::new();
        for block in prompt.chunks_exact(BLOCK_TOKENS * TOKEN_CHARS) {
            block.hash(&mut chain);
            let is_known = self.blocks.put(chain.finish(), ()).is_some();
            is_beginning &= is_known;
            known += usize::from(is_beginning);
        }
        known * BLOCK_TOKENS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(blocks: usize) -> Cache {
        Cache::new(NonZeroUsize::new(blocks).unwrap())
    }

    fn prompt(parts: &[(u64, u32)]) -> Vec<u8> {
        let mut text = Vec::new();
        for (name, tokens) in parts {
            crate::prompts::append(&mut text, *name, *tokens);
        }
        text
    }

    #[test]
    fn a_shared_beginning_is_known_the_second_time() {
        let mut cache = cache(100);
        assert_eq!(cache.look_up(&prompt(&[(1, 64), (2, 40)])), 0);
        assert_eq!(cache.look_up(&prompt(&[(1, 64), (3, 40)])), 64);
        assert_eq!(
            cache.look_up(&prompt(&[(1, 64), (3, 40)])),
            96,
            "whole blocks only"
        );
        assert_eq!(
            cache.look_up(&prompt(&[(4, 16), (1, 64)])),
            0,
            "not at the beginning"
        );
    }

    #[test]
    fn the_oldest_make_room() {
        let mut cache = cache(4);
        cache.look_up(&prompt(&[(1, 48)]));
        cache.look_up(&prompt(&[(2, 48)]));
        assert_eq!(cache.look_up(&prompt(&[(2, 48)])), 48);
        assert_eq!(cache.look_up(&prompt(&[(1, 48)])), 0);
    }
}

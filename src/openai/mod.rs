//! Room: openai.

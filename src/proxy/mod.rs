//! Room: proxy.

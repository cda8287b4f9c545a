//! Room: telemetry.

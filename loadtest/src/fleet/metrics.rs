//! An endpoint's metrics, in Prometheus' text format and under vLLM's names.

use std::fmt::Write;

use super::engine::{Engine, TTFT_BOUNDS};

/// The model that every endpoint says it serves.
pub const MODEL: &str = "simulated";

/// The page.
pub fn render(engine: &Engine) -> String {
    let (running, waiting) = engine.load();
    let counts = engine.counts.borrow();
    let usage = engine.cache_usage();
    let mut page = String::new();
    let mut one = |kind: &str, name: &str, value: f64| {
        let family = name
            .strip_suffix("_total")
            .filter(|_| kind == "counter")
            .unwrap_or(name);
        let _ = writeln!(
            page,
            "# TYPE vllm:{family} {kind}\nvllm:{name}{{engine=\"0\",model_name=\"{MODEL}\"}} {value}"
        );
    };
    one("gauge", "num_requests_running", f64::from(running));
    one("gauge", "num_requests_waiting", waiting as f64);
    one("gauge", "kv_cache_usage_perc", usage);
    one("gauge", "gpu_cache_usage_perc", usage);
    one(
        "counter",
        "prefix_cache_queries_total",
        counts.cache_queries as f64,
    );
    one(
        "counter",
        "prefix_cache_hits_total",
        counts.cache_hits as f64,
    );
    one(
        "counter",
        "prompt_tokens_total",
        counts.prompt_tokens as f64,
    );
    one(
        "counter",
        "generation_tokens_total",
        counts.output_tokens as f64,
    );
    let _ = writeln!(page, "# TYPE vllm:request_success counter");
    for (reason, count) in [("length", counts.finished), ("abort", counts.aborted)] {
        let _ = writeln!(
            page,
            "vllm:request_success_total{{engine=\"0\",finished_reason=\"{reason}\",model_name=\"{MODEL}\"}} {count}"
        );
    }
    let name = "vllm:time_to_first_token_seconds";
    let labels = format!("engine=\"0\",model_name=\"{MODEL}\"");
    let _ = writeln!(page, "# TYPE {name} histogram");
    let mut sum = 0;
    let bounds = TTFT_BOUNDS
        .iter()
        .map(f64::to_string)
        .chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(counts.ttft) {
        sum += count;
        let _ = writeln!(page, "{name}_bucket{{{labels},le=\"{bound}\"}} {sum}");
    }
    let _ = writeln!(
        page,
        "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {sum}",
        counts.ttft_sum
    );
    page
}

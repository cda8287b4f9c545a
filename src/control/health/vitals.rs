//! What an inference server says of its load, in Prometheus' text format: the few samples that
//! are needed, under the names that vLLM, SGLang, llama.cpp and TGI give them. Everything else on
//! the page is passed over, whatever it is.

use crate::tables::Queue;

/// What a server says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vitals {
    /// Requests that wait and that are answered.
    pub queue: Queue,
    /// The share of the KV cache that is in use, if it says so: of several engines the fullest.
    pub cache: Option<f64>,
}

const WAITING: &[&str] = &[
    "vllm:num_requests_waiting",
    "sglang:num_queue_reqs",
    "llamacpp:requests_deferred",
    "tgi_queue_size",
];

const RUNNING: &[&str] = &[
    "vllm:num_requests_running",
    "sglang:num_running_reqs",
    "llamacpp:requests_processing",
    "tgi_batch_current_size",
];

const CACHE: &[&str] = &[
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "sglang:token_usage",
    "llamacpp:kv_cache_usage_ratio",
];

/// Reads a page. None if it says nothing of requests: it is another program's.
pub fn read(page: &str) -> Option<Vitals> {
    let (mut waiting, mut running) = (None, None);
    let mut cache: Option<f64> = None;
    for (name, value) in page.lines().filter_map(sample) {
        // A server with several engines has a sample for each.
        if WAITING.contains(&name) {
            *waiting.get_or_insert(0.0) += value;
        } else if RUNNING.contains(&name) {
            *running.get_or_insert(0.0) += value;
        } else if CACHE.contains(&name) {
            let share = value.min(1.0);
            cache = Some(cache.map_or(share, |known| known.max(share)));
        }
    }
    if waiting.is_none() && running.is_none() {
        return None;
    }
    // Saturates.
    let count = |sum: Option<f64>| sum.unwrap_or(0.0) as u32;
    Some(Vitals {
        queue: Queue {
            waiting: count(waiting),
            running: count(running),
        },
        cache,
    })
}

/// `NAME[{LABELS}] VALUE [TIMESTAMP]`, with a value that can be a count or a share.
fn sample(line: &str) -> Option<(&str, f64)> {
    let line = line.trim();
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    // Label values may hold braces; what follows the last one is the value.
    let rest = match rest.starts_with('{') {
        true => &rest[rest.rfind('}')? + 1..],
        false => rest,
    };
    let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(page: &str) -> Option<(u32, u32, Option<f64>)> {
        read(page).map(|it| (it.queue.waiting, it.queue.running, it.cache))
    }

    #[test]
    fn each_server_is_understood() {
        let vllm = "# HELP vllm:num_requests_running Number of requests in model execution.\n\
                    # TYPE vllm:num_requests_running gauge\n\
                    vllm:num_requests_running{engine=\"0\",model_name=\"a}b\"} 3.0\n\
                    vllm:num_requests_running{engine=\"1\",model_name=\"a}b\"} 4.0\n\
                    vllm:num_requests_waiting{engine=\"0\",model_name=\"a}b\"} 2.0\n\
                    vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"a}b\"} 0.25\n\
                    vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"a}b\"} 0.5\n\
                    vllm:prompt_tokens_total{engine=\"0\",model_name=\"a}b\"} 1.5e+06\n";
        assert_eq!(said(vllm), Some((2, 7, Some(0.5))));
        let sglang = "sglang:num_running_reqs{model_name=\"m\"} 5.0\n\
                      sglang:num_queue_reqs{model_name=\"m\"} 1.0\n\
                      sglang:token_usage{model_name=\"m\"} 0.75\n";
        assert_eq!(said(sglang), Some((1, 5, Some(0.75))));
        let llama = "llamacpp:requests_processing 1\nllamacpp:requests_deferred 6 1700000000000\n";
        assert_eq!(said(llama), Some((6, 1, None)));
        let tgi = "tgi_queue_size 2\ntgi_batch_current_size 8\n";
        assert_eq!(said(tgi), Some((2, 8, None)));
    }

    #[test]
    fn whatever_else_is_on_the_page_is_passed_over() {
        assert_eq!(said(""), None);
        assert_eq!(said("<html>404</html>"), None);
        assert_eq!(said("process_cpu_seconds_total 3.5\n"), None);
        let odd = "vllm:num_requests_running NaN\nvllm:num_requests_running -1\n\
                   vllm:num_requests_running{ 3\nvllm:num_requests_running\n\
                   vllm:num_requests_waiting 1e99\nvllm:kv_cache_usage_perc 7\n";
        assert_eq!(said(odd), Some((u32::MAX, 0, Some(1.0))));
    }

    proptest! {
        #[test]
        fn no_page_panics(page in "(vllm:num_requests_(running|waiting)|[ -~\n{}\"]){0,20}") {
            read(&page);
        }
    }
}

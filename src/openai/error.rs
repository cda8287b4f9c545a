//! The errors that srpd itself makes (SRP section 2), in the shape that OpenAI's SDKs type.

use super::json::write_json_string;
use super::route::Operation;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal $kind:literal $label:literal $code:expr;)*) => {
        /// Every error of SRP section 2. Those that only HTTP defines have a `null` code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// Every code, in the order of their indexes.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The status of the response.
            pub const fn status(self) -> u16 {
                match self { $(ErrorCode::$name => $status,)* }
            }

            /// The body's `type`.
            pub const fn kind(self) -> &'static str {
                match self { $(ErrorCode::$name => $kind,)* }
            }

            /// The body's `code`; `None` is written as `null`.
            pub const fn code(self) -> Option<&'static str> {
                match self { $(ErrorCode::$name => $code,)* }
            }

            /// A name for metrics and logs: the code, or for those without one the status in words.
            pub const fn label(self) -> &'static str {
                match self { $(ErrorCode::$name => $label,)* }
            }
        }
    };
}

codes! {
    /// The message is not HTTP as RFC 9112 has it, or not a form as RFC 7578 has it.
    BadRequest = 400 "invalid_request_error" "bad_request" None;
    /// The body is not one unambiguous JSON object.
    InvalidJson = 400 "invalid_request_error" "invalid_json" Some("invalid_json");
    /// The body names no model.
    MissingModel = 400 "invalid_request_error" "missing_model" Some("missing_model");
    /// `X-Sovereign-Residency` is not exactly one valid rule list.
    InvalidResidency = 400 "invalid_request_error" "invalid_residency" Some("invalid_residency");
    /// `X-Sovereign-Supply` has an unknown value.
    InvalidSupply = 400 "invalid_request_error" "invalid_supply" Some("invalid_supply");
    /// `X-Sovereign-Max-Price` is not a decimal number.
    InvalidMaxPrice = 400 "invalid_request_error" "invalid_max_price" Some("invalid_max_price");
    /// `X-Sovereign-Defer` is not a number of seconds.
    InvalidDefer = 400 "invalid_request_error" "invalid_defer" Some("invalid_defer");
    /// `service_tier` has an unknown value.
    InvalidServiceTier = 400 "invalid_request_error" "invalid_service_tier" Some("invalid_service_tier");
    /// No key, or one that is not known.
    InvalidApiKey = 401 "invalid_request_error" "invalid_api_key" Some("invalid_api_key");
    /// The key may not use the capability.
    CapabilityNotAllowed = 403 "permission_error" "capability_not_allowed" Some("capability_not_allowed");
    /// Firm supply was asked for without a reservation.
    FirmNotReserved = 403 "permission_error" "firm_not_reserved" Some("firm_not_reserved");
    /// No provider of the chain lies in the effective jurisdictions.
    DataResidencyMismatch = 403 "residency_error" "data_residency_mismatch" Some("data_residency_mismatch");
    /// No such capability.
    ModelNotFound = 404 "invalid_request_error" "model_not_found" Some("model_not_found");
    /// No such path.
    UnknownUrl = 404 "invalid_request_error" "unknown_url" Some("unknown_url");
    /// The path has other methods; `Allow` names them.
    MethodNotAllowed = 405 "invalid_request_error" "method_not_allowed" None;
    /// The request did not arrive in time.
    RequestTimeout = 408 "invalid_request_error" "request_timeout" None;
    /// A body without a length.
    LengthRequired = 411 "invalid_request_error" "length_required" None;
    /// The body is over `limits.body_bytes`.
    ContentTooLarge = 413 "invalid_request_error" "content_too_large" None;
    /// A content type or coding that routing can't read.
    UnsupportedMediaType = 415 "invalid_request_error" "unsupported_media_type" None;
    /// The head is over `limits.head_bytes` or `limits.headers`.
    HeaderFieldsTooLarge = 431 "invalid_request_error" "header_fields_too_large" None;
    /// The key's own limit.
    RateLimitExceeded = 429 "rate_limit_error" "rate_limit_exceeded" Some("rate_limit_exceeded");
    /// The key's reserved slots are all in use.
    FirmExhausted = 429 "capacity_error" "firm_exhausted" Some("firm_exhausted");
    /// No slot is idle, and the call may not wait.
    FloatingUnavailable = 429 "capacity_error" "floating_unavailable" Some("floating_unavailable");
    /// Nothing is on offer at the caller's price.
    PriceAboveLimit = 429 "capacity_error" "price_above_limit" Some("price_above_limit");
    /// The slot went to a firm call.
    Curtailed = 429 "capacity_error" "curtailed" Some("curtailed");
    /// Every candidate was tried and failed.
    AllAttemptsFailed = 502 "upstream_error" "all_attempts_failed" Some("all_attempts_failed");
    /// Providers inside the border exist, but none can take the call.
    ResidencyUnavailable = 503 "service_unavailable_error" "residency_unavailable" Some("residency_unavailable");
    /// No provider of the chain can take the call.
    NoProviderAvailable = 503 "service_unavailable_error" "no_provider_available" Some("no_provider_available");
    /// The instance has as many calls as it is allowed to hold.
    Overloaded = 503 "service_unavailable_error" "overloaded" Some("overloaded");
    /// The call's total deadline passed.
    DeadlineExceeded = 504 "upstream_error" "deadline_exceeded" Some("deadline_exceeded");
}

impl ErrorCode {
    /// How many codes there are.
    pub const COUNT: usize = ErrorCode::ALL.len();

    /// The code as an index into a table of [`ErrorCode::COUNT`] counters.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The value of `x-should-retry`: whether the same request may fare better in a while. A 504
    /// has used its whole deadline up and says no.
    pub const fn should_retry(self) -> bool {
        matches!(self.status(), 408 | 429 | 502 | 503)
    }
}

/// Appends the error body: `{"error":{"message":…,"type":…,"param":…,"code":…}}`.
pub fn write_body(out: &mut Vec<u8>, code: ErrorCode, message: &str, param: Option<&str>) {
    write_error_object(out, code.kind(), code.code(), message, param);
}

/// Appends the event that ends a stream after its commit point, in the endpoint's own shape
/// (SRP section 5). `code` is `upstream_died`, or a code of the table; `sequence` numbers the
/// event in a Responses stream and is unused elsewhere. There the error stands twice, flat as
/// OpenAI has it and as an object: only for the latter do the SDKs raise their typed error.
pub fn write_error_event(
    out: &mut Vec<u8>,
    operation: Operation,
    code: &str,
    message: &str,
    sequence: u64,
) {
    let known = ErrorCode::ALL.iter().find(|c| c.code() == Some(code));
    let kind = known.map_or("upstream_error", |c| c.kind());
    if operation == Operation::Responses {
        out.extend_from_slice(b"event: error\ndata: {\"type\":\"error\",\"code\":");
        write_json_string(out, code);
        out.extend_from_slice(b",\"message\":");
        write_json_string(out, message);
        out.extend_from_slice(b",\"param\":null,\"sequence_number\":");
        out.extend_from_slice(itoa::Buffer::new().format(sequence).as_bytes());
        out.extend_from_slice(b",\"error\":");
        write_error_members(out, kind, Some(code), message, None);
        out.push(b'}');
    } else {
        out.extend_from_slice(b"data: ");
        write_error_object(out, kind, Some(code), message, None);
    }
    out.extend_from_slice(b"\n\n");
}

/// Appends an error body of any type and code: for what isn't in the table.
pub fn write_error_object(
    out: &mut Vec<u8>,
    kind: &str,
    code: Option<&str>,
    message: &str,
    param: Option<&str>,
) {
    out.extend_from_slice(b"{\"error\":");
    write_error_members(out, kind, code, message, param);
    out.push(b'}');
}

fn write_error_members(
    out: &mut Vec<u8>,
    kind: &str,
    code: Option<&str>,
    message: &str,
    param: Option<&str>,
) {
    out.extend_from_slice(b"{\"message\":");
    write_json_string(out, message);
    out.extend_from_slice(b",\"type\":");
    write_json_string(out, kind);
    out.extend_from_slice(b",\"param\":");
    write_optional(out, param);
    out.extend_from_slice(b",\"code\":");
    write_optional(out, code);
    out.push(b'}');
}

fn write_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => write_json_string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::collections::HashSet;

    /// The table of SRP section 2, row by row.
    #[test]
    fn the_codes_are_those_of_the_protocol() {
        let rows: &[(u16, &str, &[&str], bool)] = &[
            (
                400,
                "invalid_request_error",
                &[
                    "invalid_json",
                    "missing_model",
                    "invalid_residency",
                    "invalid_supply",
                    "invalid_max_price",
                    "invalid_defer",
                    "invalid_service_tier",
                ],
                false,
            ),
            (401, "invalid_request_error", &["invalid_api_key"], false),
            (
                403,
                "permission_error",
                &["capability_not_allowed", "firm_not_reserved"],
                false,
            ),
            (403, "residency_error", &["data_residency_mismatch"], false),
            (
                404,
                "invalid_request_error",
                &["model_not_found", "unknown_url"],
                false,
            ),
            (429, "rate_limit_error", &["rate_limit_exceeded"], true),
            (
                429,
                "capacity_error",
                &[
                    "firm_exhausted",
                    "floating_unavailable",
                    "price_above_limit",
                    "curtailed",
                ],
                true,
            ),
            (502, "upstream_error", &["all_attempts_failed"], true),
            (
                503,
                "service_unavailable_error",
                &[
                    "residency_unavailable",
                    "no_provider_available",
                    "overloaded",
                ],
                true,
            ),
            (504, "upstream_error", &["deadline_exceeded"], false),
        ];
        let mut expected = HashSet::new();
        for (status, kind, codes, retry) in rows {
            expected.extend(
                codes
                    .iter()
                    .map(|code| (*status, *kind, Some(*code), *retry)),
            );
        }
        for status in [400, 405, 408, 411, 413, 415, 431] {
            expected.insert((status, "invalid_request_error", None, status == 408));
        }
        let built = |c: &ErrorCode| (c.status(), c.kind(), c.code(), c.should_retry());
        let all: HashSet<_> = ErrorCode::ALL.iter().map(built).collect();
        assert_eq!(all, expected);
        assert_eq!(all.len(), ErrorCode::COUNT);
    }

    #[test]
    fn codes_index_and_label_apart() {
        let labels: HashSet<_> = ErrorCode::ALL.iter().map(|c| c.label()).collect();
        assert_eq!(labels.len(), ErrorCode::COUNT);
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(code.index(), index);
            assert!(code.code().is_none_or(|text| text == code.label()));
        }
    }

    #[test]
    fn bodies_have_openais_shape() {
        let mut out = Vec::new();
        write_body(
            &mut out,
            ErrorCode::ModelNotFound,
            "no \"x\"\n",
            Some("model"),
        );
        let body: Value = serde_json::from_slice(&out).unwrap();
        let expected = json!({"error": {
            "message": "no \"x\"\n", "type": "invalid_request_error",
            "param": "model", "code": "model_not_found",
        }});
        assert_eq!(body, expected);
        out.clear();
        write_body(&mut out, ErrorCode::LengthRequired, "", None);
        let body: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            (&body["error"]["param"], &body["error"]["code"]),
            (&Value::Null, &Value::Null)
        );
    }

    #[test]
    fn events_have_their_endpoints_shape() {
        let event = |operation, code| {
            let mut out = b"before".to_vec();
            write_error_event(&mut out, operation, code, "gone", 7);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            event(Operation::ChatCompletions, "upstream_died"),
            "beforedata: {\"error\":{\"message\":\"gone\",\"type\":\"upstream_error\",\
             \"param\":null,\"code\":\"upstream_died\"}}\n\n"
        );
        assert!(event(Operation::Completions, "curtailed").contains("\"capacity_error\""));
        assert_eq!(
            event(Operation::Responses, "upstream_died"),
            "beforeevent: error\ndata: {\"type\":\"error\",\"code\":\"upstream_died\",\
             \"message\":\"gone\",\"param\":null,\"sequence_number\":7,\"error\":\
             {\"message\":\"gone\",\"type\":\"upstream_error\",\"param\":null,\
             \"code\":\"upstream_died\"}}\n\n"
        );
    }
}

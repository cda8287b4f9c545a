//! What tests of several rooms write.

use super::Call;
use crate::telemetry::Outcome;

/// A call that was refused, and says as little as one can.
pub const REFUSED: Call<&'static str> = Call {
    number: 0,
    began_us: 0,
    total_us: 1,
    ttft_us: None,
    bytes_in: 0,
    bytes_out: 0,
    tokens: None,
    price: None,
    firm: false,
    stream: false,
    served: false,
    jurisdiction: None,
    status: 404,
    outcome: Outcome::Failed,
    code: "model_not_found",
    request_id: "r",
    residency: "",
    key: "",
    capability: "",
};

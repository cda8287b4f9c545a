//! Errors: that they are ones, and in OpenAI's shape.

use serde_json::json;

use super::{Item, Severity};
use crate::conformance::ask::{Ask, QUESTION, chat};
use crate::conformance::probe::{Finding, Not, Probe, demand, expect_status, skip};
use crate::conformance::shape;

pub(super) const ITEMS: &[Item] = &[
    Item {
        id: "errors.malformed-json",
        title: "A body that is no JSON is 400",
        requirement: "SRP section 5: another status would count as the provider's failure, and open its breaker",
        severity: Severity::Must,
        check: malformed,
    },
    Item {
        id: "errors.missing-messages",
        title: "A chat without `messages` is 400",
        requirement: "OpenAI API, create chat completion; SRP section 5",
        severity: Severity::Must,
        check: missing,
    },
    Item {
        id: "errors.wrong-type",
        title: "A member of the wrong type is 400",
        requirement: "OpenAI API, create chat completion; SRP section 5",
        severity: Severity::Must,
        check: wrong_type,
    },
    Item {
        id: "errors.unknown-model",
        title: "A model that isn't there is 404, and not answered by another",
        requirement: "SRP section 5: a wrong mapping is an alarm; answered by another model it is a wrong bill",
        severity: Severity::Must,
        check: unknown_model,
    },
    Item {
        id: "errors.unknown-path",
        title: "A path that isn't there is 404 in OpenAI's shape",
        requirement: "SRP sections 1 and 2",
        severity: Severity::Should,
        check: unknown_path,
    },
    Item {
        id: "errors.wrong-method",
        title: "A wrong method is 405 or 404 in OpenAI's shape",
        requirement: "SRP section 1",
        severity: Severity::Should,
        check: wrong_method,
    },
    Item {
        id: "errors.wrong-key",
        title: "A wrong key is 401",
        requirement: "SRP section 5: 401 is an alarm, and goes on to the next candidate",
        severity: Severity::Must,
        check: wrong_key,
    },
    Item {
        id: "errors.then-serves",
        title: "A call behind an error on the same connection is served",
        requirement: "RFC 9112 section 9.3; SRP section 5: connections are used again",
        severity: Severity::Must,
        check: then_serves,
    },
];

fn malformed(probe: &Probe<'_>) -> Finding {
    let body = br#"{"model": "m", "messages": ["#.to_vec();
    let answer = probe.ask(&Ask::raw("/chat/completions", body))?;
    shape::error(&answer, &[400])
}

fn missing(probe: &Probe<'_>) -> Finding {
    let answer = probe.ask(&Ask::chat(&json!({"model": probe.plan.model})))?;
    shape::error(&answer, &[400, 422])
}

fn wrong_type(probe: &Probe<'_>) -> Finding {
    let mut body = chat(probe.plan, QUESTION, 8);
    body["messages"] = "none".into();
    let answer = probe.ask(&Ask::chat(&body))?;
    shape::error(&answer, &[400, 422])
}

fn unknown_model(probe: &Probe<'_>) -> Finding {
    let mut body = chat(probe.plan, QUESTION, 8);
    body["model"] = "srp-conformance-no-such-model".into();
    let answer = probe.ask(&Ask::chat(&body))?;
    if answer.head.status == 200 {
        let served = shape::json(&answer)?;
        let why = format!("an unknown model is answered, by {}", served["model"]);
        return Err(Not::Passed(why));
    }
    // Some say it with the status of any other wrong value, and OpenAI's code.
    if answer.head.status == 400 {
        let code = &shape::json(&answer)?["error"]["code"];
        demand(
            code == "model_not_found",
            format!("expected 404, or 400 with `code` \"model_not_found\", found 400 with {code}"),
        )?;
    }
    shape::error(&answer, &[404, 400])
}

fn unknown_path(probe: &Probe<'_>) -> Finding {
    let body = chat(probe.plan, QUESTION, 8);
    let answer = probe.ask(&Ask::post("/srp-conformance-no-such-path", &body))?;
    shape::error(&answer, &[404])
}

fn wrong_method(probe: &Probe<'_>) -> Finding {
    let answer = probe.ask(&Ask::get("/chat/completions"))?;
    shape::error(&answer, &[405, 404])
}

fn wrong_key(probe: &Probe<'_>) -> Finding {
    if probe.plan.key.is_none() {
        return skip("no key is given: the endpoint is open to whoever reaches it");
    }
    let ask = Ask::chat(&chat(probe.plan, QUESTION, 8)).keyed("srp-conformance-wrong-key");
    shape::error(&probe.ask(&ask)?, &[401])
}

fn then_serves(probe: &Probe<'_>) -> Finding {
    let mut line = probe.open()?;
    let wrong = Ask::chat(&json!({"model": probe.plan.model}));
    let refused = probe.ask_on(&mut line, &wrong)?;
    if refused.head.status == 200 {
        return skip("what should be an error is answered 200");
    }
    if !refused.head.persistent {
        return skip("the connection is closed behind an error, which it says");
    }
    let served = probe.ask_on(&mut line, &Ask::chat(&chat(probe.plan, QUESTION, 8)))?;
    expect_status(&served, 200)?;
    Ok(format!("{}, then 200", refused.head.status))
}

//! OpenAI's behaviour: whole answers.

use serde_json::{Value, json};

use super::{Item, Severity};
use crate::conformance::ask::{Ask, LONG, QUESTION, chat};
use crate::conformance::line::Answer;
use crate::conformance::probe::{Finding, Not, Probe, demand, expect_status, fail, skip};
use crate::conformance::shape;

pub(super) const ITEMS: &[Item] = &[
    Item {
        id: "chat.whole",
        title: "A chat completion has OpenAI's shape",
        requirement: "OpenAI API, chat completion object; SRP section 5: a body that doesn't parse is a failure",
        severity: Severity::Must,
        check: whole,
    },
    Item {
        id: "chat.turns",
        title: "A system message and earlier turns are taken",
        requirement: "OpenAI API, create chat completion: `messages`",
        severity: Severity::Must,
        check: turns,
    },
    Item {
        id: "chat.parts",
        title: "A message may come in parts of text",
        requirement: "OpenAI API, create chat completion: content parts",
        severity: Severity::Should,
        check: parts,
    },
    Item {
        id: "chat.unknown-members",
        title: "Members that the server doesn't know are passed over",
        requirement: "SRP section 9: fields that SRP doesn't know are forwarded as they are",
        severity: Severity::Must,
        check: unknown_members,
    },
    Item {
        id: "chat.max-tokens",
        title: "`max_tokens` is obeyed, and said to be the reason",
        requirement: "OpenAI API, create chat completion: `max_tokens`, `finish_reason`",
        severity: Severity::Must,
        check: max_tokens,
    },
    Item {
        id: "completions.whole",
        title: "A completion, if offered, has OpenAI's shape",
        requirement: "OpenAI API, completion object; SRP section 1",
        severity: Severity::Must,
        check: completion,
    },
    Item {
        id: "embeddings.whole",
        title: "Embeddings, if offered, come one for each input and in order",
        requirement: "OpenAI API, embedding object; SRP section 1",
        severity: Severity::Must,
        check: embeddings,
    },
    Item {
        id: "models.list",
        title: "The list of models has the one that is tested",
        requirement: "OpenAI API, list models",
        severity: Severity::Should,
        check: models,
    },
];

fn chatted(probe: &Probe<'_>, body: &Value) -> Result<Value, Not> {
    let answer = probe.ask(&Ask::chat(body))?;
    expect_status(&answer, 200)?;
    let value = shape::json(&answer)?;
    shape::chat(&value)?;
    Ok(value)
}

fn whole(probe: &Probe<'_>) -> Finding {
    let value = chatted(probe, &chat(probe.plan, QUESTION, 32))?;
    Ok(format!(
        "a chat completion of {}, ended by {}",
        value["model"], value["choices"][0]["finish_reason"]
    ))
}

fn turns(probe: &Probe<'_>) -> Finding {
    let mut body = chat(probe.plan, QUESTION, 16);
    body["messages"] = json!([
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "What is the capital of Italy?"},
        {"role": "assistant", "content": "Rome."},
        {"role": "user", "content": QUESTION},
    ]);
    chatted(probe, &body)?;
    Ok("four messages of three roles were answered".to_owned())
}

fn parts(probe: &Probe<'_>) -> Finding {
    let mut body = chat(probe.plan, QUESTION, 16);
    let part = |text| json!({"type": "text", "text": text});
    body["messages"][0]["content"] = json!([part("Be brief."), part(QUESTION)]);
    chatted(probe, &body)?;
    Ok("a message of two parts was answered".to_owned())
}

fn unknown_members(probe: &Probe<'_>) -> Finding {
    let mut body = chat(probe.plan, QUESTION, 16);
    body["x_srp_conformance"] = json!({"nested": [1, null, "two"]});
    body["messages"][0]["x_srp_conformance"] = true.into();
    chatted(probe, &body)?;
    Ok("one unknown member beside `model` and one in a message changed nothing".to_owned())
}

fn max_tokens(probe: &Probe<'_>) -> Finding {
    const BOUND: u64 = 8;
    let value = chatted(probe, &chat(probe.plan, LONG, BOUND as usize))?;
    let reason = &value["choices"][0]["finish_reason"];
    demand(
        reason == "length",
        format!("expected `finish_reason` \"length\" after {BOUND} tokens, found {reason}"),
    )?;
    let count = shape::usage(&value)?.completion;
    demand(
        (1..=BOUND).contains(&count),
        format!("asked for {BOUND} tokens at most, got {count}"),
    )?;
    Ok(format!("{count} of {BOUND} tokens, ended by \"length\""))
}

/// Skips, if the endpoint is not there.
fn offered(answer: &Answer, what: &str) -> Result<(), Not> {
    match answer.head.status {
        status @ (404 | 405 | 501) => skip(format!("not offered: {what} is answered {status}")),
        _ => Ok(()),
    }
}

fn completion(probe: &Probe<'_>) -> Finding {
    let body = json!({
        "model": probe.plan.model, "prompt": "The capital of France is",
        "max_tokens": 8, "temperature": 0,
    });
    let answer = probe.ask(&Ask::post("/completions", &body))?;
    offered(&answer, "/completions")?;
    expect_status(&answer, 200)?;
    let value = shape::json(&answer)?;
    shape::completion(&value)?;
    let usage = shape::usage(&value)?;
    Ok(format!("a completion of {} tokens", usage.completion))
}

fn embeddings(probe: &Probe<'_>) -> Finding {
    let inputs = ["sovereign", "silicon"];
    let body = json!({
        "model": probe.plan.embedding_model, "input": inputs, "encoding_format": "float",
    });
    let answer = probe.ask(&Ask::post("/embeddings", &body))?;
    offered(&answer, "/embeddings")?;
    expect_status(&answer, 200)?;
    let value = shape::json(&answer)?;
    let Some(data) = value["data"].as_array() else {
        return fail("expected a list in `data`");
    };
    demand(
        data.len() == inputs.len(),
        format!("{} inputs, {} embeddings", inputs.len(), data.len()),
    )?;
    let mut lengths = Vec::new();
    for (index, one) in data.iter().enumerate() {
        demand(
            one["index"] == index,
            format!("expected `index` {index}, found {}", one["index"]),
        )?;
        let numbers = one["embedding"].as_array().map_or(&[][..], Vec::as_slice);
        demand(
            !numbers.is_empty() && numbers.iter().all(Value::is_number),
            "expected a list of numbers in `embedding`",
        )?;
        lengths.push(numbers.len());
    }
    demand(
        lengths[0] == lengths[1],
        "the embeddings differ in length".to_owned(),
    )?;
    Ok(format!("2 embeddings of {} numbers", lengths[0]))
}

fn models(probe: &Probe<'_>) -> Finding {
    let answer = probe.ask(&Ask::get("/models"))?;
    expect_status(&answer, 200)?;
    let value = shape::json(&answer)?;
    demand(
        value["object"] == "list",
        format!("expected `object` \"list\", found {}", value["object"]),
    )?;
    let list = value["data"].as_array().map_or(&[][..], Vec::as_slice);
    let wanted = probe.plan.model.as_str();
    demand(
        list.iter().any(|model| model["id"] == wanted),
        format!("{wanted:?} is not among the {} listed", list.len()),
    )?;
    Ok(format!("{wanted:?} is among the {} listed", list.len()))
}

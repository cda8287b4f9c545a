// The openai npm SDK against a running srpd. Started by ../instance.py, which sets SRPD_*:
//   python ../instance.py node --test

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import OpenAI from "openai";

const baseURL = process.env.SRPD_BASE_URL;
const apiKey = process.env.SRPD_KEY;
const upstreams = JSON.parse(process.env.SRPD_UPSTREAMS);
const messages = [{ role: "user", content: "Hello" }];

let sent = 0;
const client = new OpenAI({
  baseURL,
  apiKey,
  fetch: (url, options) => {
    sent += 1;
    return fetch(url, options);
  },
});

const text = (name) => `Greetings from ${name} to you`;

async function script(name, acts = {}) {
  const response = await fetch(`${upstreams[name]}/_script`, {
    method: "POST",
    body: JSON.stringify(acts),
  });
  await response.text();
}

async function received(name) {
  return (await fetch(`${upstreams[name]}/_requests`)).json();
}

async function said(stream) {
  let all = "";
  for await (const chunk of stream) all += chunk.choices[0]?.delta?.content ?? "";
  return all;
}

beforeEach(async () => {
  await Promise.all(Object.keys(upstreams).map((name) => script(name)));
  sent = 0;
});

test("chat", async () => {
  const { data, response } = await client.chat.completions
    .create({ model: "smart", messages })
    .withResponse();
  assert.equal(data.choices[0].message.content, text("vendor-us"));
  assert.equal(response.headers.get("x-sovereign-jurisdiction"), "us");
  assert.equal(response.headers.get("x-sovereign-attempts"), "1");
  assert.equal(response.headers.get("openai-organization"), null);
  assert.ok(data._request_id);
  const [request] = await received("us");
  assert.equal(request.json.model, "frontier-1");
  assert.equal(request.headers.authorization, "Bearer sk-vendor-us");
});

test("stream", async () => {
  const stream = await client.chat.completions.create({ model: "smart", messages, stream: true });
  assert.equal(await said(stream), text("vendor-us"));
});

test("stream with usage", async () => {
  const stream = await client.chat.completions.create({
    model: "smart",
    messages,
    stream: true,
    stream_options: { include_usage: true },
  });
  let last;
  for await (const chunk of stream) last = chunk;
  assert.equal(last.usage.completion_tokens, 5);
});

test("stream helper", async () => {
  const runner = client.chat.completions.stream({ model: "smart", messages });
  assert.equal(await runner.finalContent(), text("vendor-us"));
});

test("tool calls", async () => {
  const tools = [
    { type: "function", function: { name: "get_weather", parameters: { type: "object" } } },
  ];
  const answer = await client.chat.completions.create({ model: "smart", messages, tools });
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Perth", unit: "celsius" });
  const [request] = await received("us");
  assert.deepEqual(request.json.tools, tools);
});

test("embeddings", async () => {
  const answer = await client.embeddings.create({ model: "smart", input: ["one", "three"] });
  assert.deepEqual(answer.data[1].embedding, [5, 1, 0.5, -1]);
});

test("responses", async () => {
  const answer = await client.responses.create({ model: "smart", input: "Hello" });
  assert.equal(answer.output_text, text("vendor-us"));
  const stream = await client.responses.create({ model: "smart", input: "Hello", stream: true });
  let last;
  for await (const event of stream) last = event;
  assert.equal(last.type, "response.completed");
});

test("transcriptions", async () => {
  const file = new File([new Uint8Array(100_000)], "hello.wav", { type: "audio/wav" });
  const answer = await client.audio.transcriptions.create({ model: "smart", file });
  assert.equal(answer.text, text("vendor-us"));
});

test("models", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.deepEqual(ids.sort(), ["fast", "smart", "sovereign"]);
});

for (const [name, act] of Object.entries({
  "500": { act: "status", status: 500 },
  "429": { act: "status", status: 429, headers: { "retry-after": "1" } },
  reset: { act: "reset" },
})) {
  test(`failover is not seen: ${name}`, async () => {
    // A gate from another test may stand in the way of the first attempt: that is no matter here.
    await script("us", { always: act });
    const answer = await client.chat.completions.create({ model: "smart", messages });
    assert.equal(answer.choices[0].message.content, text("vendor-de"));
    const stream = await client.chat.completions.create({ model: "smart", messages, stream: true });
    assert.equal(await said(stream), text("vendor-de"));
    assert.equal(sent, 2);
  });
}

test("a residency rejection is its own error, without retries", async () => {
  const call = client.chat.completions.create(
    { model: "smart", messages },
    { headers: { "X-Sovereign-Residency": "nz-only" } },
  );
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof OpenAI.PermissionDeniedError);
    assert.equal(error.code, "data_residency_mismatch");
    assert.equal(error.type, "residency_error");
    return true;
  });
  assert.equal(sent, 1);
  assert.equal((await received("us")).length, 0);
});

test("an unknown key", async () => {
  const stranger = new OpenAI({ baseURL, apiKey: "sk-stranger" });
  const call = stranger.chat.completions.create({ model: "smart", messages });
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof OpenAI.AuthenticationError);
    assert.equal(error.code, "invalid_api_key");
    return true;
  });
});

test("a limit that is used up", async () => {
  const metered = new OpenAI({ baseURL, apiKey: process.env.SRPD_METERED_KEY, maxRetries: 0 });
  const ask = () => metered.chat.completions.create({ model: "smart", messages }).withResponse();
  for (const left of ["1", "0"]) {
    const { response } = await ask();
    assert.equal(response.headers.get("x-ratelimit-remaining-requests"), left);
  }
  await assert.rejects(ask(), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError);
    assert.equal(error.code, "rate_limit_exceeded");
    assert.equal(error.headers.get("x-ratelimit-limit-requests"), "2");
    assert.ok(Number(error.headers.get("retry-after-ms")) > 0);
    return true;
  });
});

test("when all fail, the SDK retries and then says so", async () => {
  const failing = { always: { act: "status", status: 500 } };
  await Promise.all(Object.keys(upstreams).map((name) => script(name, failing)));
  const call = client.chat.completions.create({ model: "smart", messages }, { maxRetries: 1 });
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof OpenAI.InternalServerError);
    assert.equal(error.code, "all_attempts_failed");
    return true;
  });
  assert.equal(sent, 2);
});

test("death in mid-stream is an error", async () => {
  await script("de", { next: [{ act: "die", after: 3, pause: 0.02 }] });
  const stream = await client.chat.completions.create(
    { model: "smart", messages, stream: true },
    { headers: { "X-Sovereign-Residency": "de-only" } },
  );
  let all = "";
  await assert.rejects(
    async () => {
      for await (const chunk of stream) all += chunk.choices[0].delta.content ?? "";
    },
    (error) => {
      assert.ok(error instanceof OpenAI.APIError);
      assert.equal(error.code, "upstream_died");
      return true;
    },
  );
  assert.equal(all, "Greetings from");
});

test("leaving early", async () => {
  await script("de", { next: [{ act: "answer", pause: 0.1 }] });
  const stream = await client.chat.completions.create(
    { model: "smart", messages, stream: true },
    { headers: { "X-Sovereign-Residency": "de-only" } },
  );
  for await (const _ of stream) break;
  const answer = await client.chat.completions.create({ model: "smart", messages });
  assert.ok(answer.choices[0].message.content);
});

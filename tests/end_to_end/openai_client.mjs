// SPDX-License-Identifier: Apache-2.0
// Checks an embedding server with the official OpenAI client.
//   node openai_client.mjs http://127.0.0.1:8080/v1
// Prints "ok" and exits 0, or says what was wrong and exits 1. The server must be lexical, with 512 dimensions.
import assert from 'node:assert/strict';
import OpenAI, { BadRequestError, NotFoundError } from 'openai';

const baseURL = process.argv[2];
const client = new OpenAI({ baseURL, apiKey: 'none is needed', maxRetries: 0, timeout: 20_000 });
const model = 'text-embedding-3-small';
const texts = ['the first text', 'Der zweite "Text",\nmit Umlauten: äöü', '第三 🗼', 'x'.repeat(20_000)];

const isFloat32 = (value) => Object.is(Math.fround(value), value);
const norm = (vector) => Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));

function check(reply, count, dim) {
  assert.equal(reply.object, 'list');
  assert.equal(reply.model, model);
  assert.ok(reply.usage.prompt_tokens >= count && reply.usage.total_tokens === reply.usage.prompt_tokens);
  assert.deepEqual(reply.data.map((item) => item.index), [...Array(count).keys()]);
  for (const { embedding } of reply.data) {
    assert.equal(embedding.length, dim);
    assert.ok(Math.abs(norm(embedding) - 1) < 1e-6);
  }
  return reply.data.map((item) => [...item.embedding]);
}

// Without encoding_format the client asks for base64 and decodes it.
const fromBase64 = check(await client.embeddings.create({ model, input: texts }), texts.length, 512);
const fromFloats = check(await client.embeddings.create({ model, input: texts, encoding_format: 'float' }), texts.length, 512);
assert.ok(fromBase64.flat().every(isFloat32));
assert.deepEqual(fromFloats.map((vector) => vector.map(Math.fround)), fromBase64);

const single = check(await client.embeddings.create({ model, input: texts[1] }), 1, 512);
assert.deepEqual(single[0], fromBase64[1]);
check(await client.embeddings.create({ model, input: texts, dimensions: 1536 }), texts.length, 1536);

const raw = await client.embeddings.create({ model, input: 'raw', encoding_format: 'base64' });
assert.equal(Buffer.from(raw.data[0].embedding, 'base64').length, 4 * 512);

for (const input of ['', ['a', ''], [], [1, 2, 3], Array(2049).fill('a')]) {
  await assert.rejects(client.embeddings.create({ model, input }), (error) => {
    assert.ok(error instanceof BadRequestError);
    assert.equal(error.status, 400);
    assert.equal(error.type, 'invalid_request_error');
    assert.equal(error.param, 'input');
    assert.match(error.message, /'\$\.input' is invalid/);
    return true;
  });
}
await assert.rejects(client.embeddings.create({ model, input: 'a', dimensions: 7 }), BadRequestError);
await assert.rejects(client.chat.completions.create({ model, messages: [] }), NotFoundError);

const models = [];
for await (const served of client.models.list()) models.push(served.id);
assert.deepEqual(models, ['reembed-lexical-1']);

console.log('ok');

// SPDX-License-Identifier: Apache-2.0
// Encodes texts with the tokenizer that OpenAI publishes: node tiktoken_ranks.mjs TEXTS RANKS
// TEXTS and RANKS hold, for each text, a 32-bit little-endian number and as many bytes, or 32-bit ranks.
// Prints the seconds that encoding took, without loading.
import { readFileSync, writeFileSync } from 'node:fs';
import { Tiktoken } from 'tiktoken/lite';

const vocabulary = JSON.parse(readFileSync(new URL('node_modules/tiktoken/encoders/cl100k_base.json', import.meta.url)));
const encoder = new Tiktoken(vocabulary.bpe_ranks, vocabulary.special_tokens, vocabulary.pat_str);
const input = readFileSync(process.argv[2]);
const texts = [];
for (let at = 0; at < input.length;) {
  const bytes = input.readUInt32LE(at);
  texts.push(input.toString('utf8', at + 4, at + 4 + bytes));
  at += 4 + bytes;
}
const start = process.hrtime.bigint();
const encoded = texts.map((text) => encoder.encode_ordinary(text));
console.log(Number(process.hrtime.bigint() - start) / 1e9);
writeFileSync(process.argv[3], Buffer.concat(encoded.flatMap((ranks) => [
  Buffer.from(Uint32Array.of(ranks.length).buffer), Buffer.from(ranks.buffer, ranks.byteOffset, ranks.byteLength),
])));

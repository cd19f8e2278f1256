// SPDX-License-Identifier: Apache-2.0
// Reads memories as mcp-memory-ts does, with the libSQL client, and says how many have a vector it can use:
// node libsql_read.mjs URL WIDTH
import { createClient } from '@libsql/client/http';

const [url, width] = process.argv.slice(2);
const client = createClient({ url });
// In pages, as the server sends at most 10 MB at a time.
const rows = [];
for (let page = [{ n: -1 }]; page.length > 0; ) {
  page = (
    await client.execute({
      sql: 'SELECT rowid AS n, embedding FROM memories WHERE rowid > ? ORDER BY rowid LIMIT 100',
      args: [page.at(-1).n],
    })
  ).rows;
  rows.push(...page);
}
let usable = 0;
for (const row of rows) {
  let vector = [];
  try {
    vector = JSON.parse(row.embedding ?? '[]');
  } catch {
    // As the system does: no embedding.
  }
  if (Array.isArray(vector) && vector.length === Number(width) && vector.every(Number.isFinite)) usable += 1;
}
console.log(`${usable} of ${rows.length}`);

// Reads memories as mcp-memory-ts does, with the libSQL client, and says how many have a vector it can use:
// node libsql_read.mjs URL WIDTH
import { createClient } from '@libsql/client/http';

const [url, width] = process.argv.slice(2);
const client = createClient({ url });
const { rows } = await client.execute('SELECT rowid AS n, embedding FROM memories ORDER BY rowid');
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

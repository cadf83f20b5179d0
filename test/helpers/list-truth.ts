import { createHash, randomUUID } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SetTruth } from '../../src/static-trie/index.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-lists-'));

/** A constraint set of some ids, or of some SIDs, its file as `readSetList` writes it. */
export function listTruth(entries: readonly (string | number[])[]): Extract<SetTruth, { kind: 'list' }> {
  const text = entries.map((entry) => `${JSON.stringify(entry)}\n`).join('');
  const path = join(folder, randomUUID());
  writeFileSync(path, text);
  return { kind: 'list', path, hash: createHash('sha256').update(text).digest('hex') };
}

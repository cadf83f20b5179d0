import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import type { ListFile } from '../static-trie/index.js';

/** Reading a longer list would hold up the requests that decode next. */
const MAX_LIST_BYTES = 2 ** 21;
const KEPT_LISTS = 4;

/** Of the lists that were read last, by hash: their lines. */
const kept = new Map<string, ReadonlySet<string>>();

/**
 * Whether a constraint set's list has items, by id or by SID.
 * @returns undefined where the list is too long to read for this, is gone, or is not what was written.
 */
export function areListed(
  list: ListFile,
  items: readonly { id: string; sid: readonly number[] }[],
): boolean[] | undefined {
  const lines = kept.get(list.hash) ?? readLines(list);
  return lines && items.map(({ id, sid }) => lines.has(JSON.stringify(id)) || lines.has(JSON.stringify(sid)));
}

function readLines({ path, hash }: ListFile): ReadonlySet<string> | undefined {
  const bytes = readShort(path);
  if (bytes === undefined || createHash('sha256').update(bytes).digest('hex') !== hash) return undefined;
  const lines = new Set(bytes.toString('utf8').split('\n'));
  kept.set(hash, lines);
  if (kept.size > KEPT_LISTS) kept.delete(kept.keys().next().value!);
  return lines;
}

/** A set that was deleted meanwhile takes its list along. */
function readShort(path: string): Buffer | undefined {
  try {
    return statSync(path).size <= MAX_LIST_BYTES ? readFileSync(path) : undefined;
  } catch {
    return undefined;
  }
}

import { createHash, type Hash } from 'node:crypto';
import { describe, type ErrorDetail, EspalierError } from '../../errors.js';
import { writeDurably } from '../durable-file.js';
import { StringTableBuilder } from '../string-table.js';
import { checkId, checkSid, isObject } from './check-item.js';
import { Faults } from './faults.js';
import type { ItemFile } from './item-source.js';
import { type ReadOptions, readRows } from './read-rows.js';
import { listShape } from './table-columns.js';
import type { UploadPlaces } from './upload-places.js';

/** What a constraint set's list consists of. */
export type ListKind = 'items' | 'sids';

export interface SetList {
  kind: ListKind;
  /** Without duplicates. */
  count: number;
  /** SHA-256 of the list's file, in hex. */
  hash: string;
}

export interface ReadListOptions extends ReadOptions {
  codebookSizes: readonly number[];
}

const CHUNK_CHARACTERS = 1 << 18;

/**
 * Reads a list of item ids, or of SIDs, and writes it to a file of its own, durably: a JSON value a line, in the order
 * of the upload, each once. Nothing is written unless all of the upload is good.
 * @param out where the list goes
 * @throws EspalierError ESP_UPLOAD_INVALID with the first 100 faults, of each line 10 at most; ESP_UPLOAD_EMPTY;
 *   ESP_BODY_TOO_LARGE; ESP_CANCELLED; ESP_WRITE_FAILED
 * @see docs/uploads.md#lists
 */
export async function readSetList(
  files: readonly ItemFile[],
  out: string,
  { codebookSizes, ...options }: ReadListOptions,
): Promise<SetList> {
  const list = new ListBuilder(codebookSizes);
  await readRows(files, listShape, options, (value, place, places) => list.add(value, place, places));
  const { kind, entries } = list;
  if (kind === undefined) throw new EspalierError('ESP_UPLOAD_EMPTY', 'the upload has no ids and no SIDs');
  options.onProgress?.('writing', 0);
  const hash = createHash('sha256');
  writeDurably(out, linesOf(kind, entries, hash));
  return { kind, count: entries.length, hash: hash.digest('hex') };
}

class ListBuilder {
  /** Ids as they are, SIDs as their JSON. */
  readonly entries = new StringTableBuilder();
  kind: ListKind | undefined;
  readonly #codebookSizes: readonly number[];
  /** Where the kind was decided. */
  #firstPlace = 0;

  constructor(codebookSizes: readonly number[]) {
    this.#codebookSizes = codebookSizes;
  }

  /** @returns what is wrong with a row */
  add(value: unknown, place: number, places: UploadPlaces): Faults | undefined {
    const entry = entryOf(value);
    if ('faults' in entry) return entry.faults;
    const faults = new Faults();
    if (entry.kind === 'items') checkId(entry.value, faults);
    else checkSid(entry.value, this.#codebookSizes, faults);
    if (faults.count > 0) return faults;
    if (this.kind === undefined) {
      this.kind = entry.kind;
      this.#firstPlace = place;
    }
    if (entry.kind !== this.kind) return Faults.of(this.#mixed(entry.value, places));
    this.entries.intern(this.kind === 'items' ? (entry.value as string) : JSON.stringify(entry.value));
    return undefined;
  }

  #mixed(found: unknown, places: UploadPlaces): ErrorDetail {
    const { file, line } = places.detail(this.#firstPlace);
    const what = this.kind === 'items' ? 'an id' : 'a SID';
    const where = file === undefined ? `line ${line}` : `line ${line} of ${file}`;
    return { expected: `${what}, as on ${where}`, found: describe(found) };
  }
}

type Entry = { kind: ListKind; value: unknown } | { faults: Faults };

/** `"85123A"`, `[17, 203, 9]`, or an object that calls one of them `id` or `sid`. */
function entryOf(value: unknown): Entry {
  if (typeof value === 'string') return { kind: 'items', value };
  if (Array.isArray(value)) return { kind: 'sids', value };
  if (!isObject(value))
    return { faults: Faults.of({ expected: listShape.jsonLine, found: describe(value) }) };
  const names = Object.keys(value);
  const [name] = names;
  if (names.length === 1 && name === 'id') return { kind: 'items', value: value.id };
  if (names.length === 1 && name === 'sid') return { kind: 'sids', value: value.sid };
  const fault = { expected: 'one field, either id or sid', found: names.join(', ') || 'none' };
  return { faults: Faults.of(fault) };
}

/** The file's text, hashed as it is written. */
function* linesOf(kind: ListKind, entries: StringTableBuilder, hash: Hash): Generator<string> {
  let text = '';
  for (let index = 0; index < entries.length; index++) {
    const entry = entries.at(index);
    text += `${kind === 'items' ? JSON.stringify(entry) : entry}\n`;
    if (text.length < CHUNK_CHARACTERS && index < entries.length - 1) continue;
    hash.update(text);
    yield text;
    text = '';
  }
}

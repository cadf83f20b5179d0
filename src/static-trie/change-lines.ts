import { readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { EspalierError } from '../errors.js';
import type { ItemUpdate } from './changed-items.js';

/*
 * A log of changes (docs/file-format.md): lines of "<crc-32 in hex> <JSON>\n". The first has the header, each other
 * one change; their numbers follow one another without gaps.
 */
const KIND = 'change-log';
const FORMAT_VERSION = 1;
const CRC_DIGITS = 8;
const PIECE_BYTES = 1 << 16;
const NEWLINE = 10;

/** A small change to a catalog: in one entry of its log, in force as a whole. Removals come before updates. */
export interface CatalogChange {
  /** Its number in the log, from 1. */
  seq: number;
  /** ISO 8601. */
  at: string;
  by?: string;
  /** Ids. */
  remove?: readonly string[];
  update?: readonly ItemUpdate[];
}

/** The first line of a log. */
export interface LogHeader {
  kind: typeof KIND;
  format: typeof FORMAT_VERSION;
  /** Changes up to this number are not in the file any more. */
  base: number;
  /** Random: a log that was written anew has another one, whatever else is equal. */
  id: string;
}

/** Where one stands in a log, before the line that comes next. */
export interface LogPlace {
  /** In bytes. */
  offset: number;
  /** Of the line that comes next, from 1. */
  line: number;
  /** The last change before it. */
  seq: number;
}

/** A change, and the place behind it. */
export interface LogEntry {
  change: CatalogChange;
  next: LogPlace;
}

/** How a value is written as a line. */
export function logLine(value: unknown): Buffer {
  const json = JSON.stringify(value);
  return Buffer.from(`${checksum(Buffer.from(json))} ${json}\n`);
}

export function headerLine(base: number, id: string): Buffer {
  return logLine({ kind: KIND, format: FORMAT_VERSION, base, id } satisfies LogHeader);
}

/**
 * @param name of the file, for errors
 * @throws EspalierError ESP_ARTIFACT_CORRUPT where the first line is not a whole header
 */
export function readHeader(file: number, name: string): { header: LogHeader; next: LogPlace } {
  for (const { bytes, end } of linesFrom(file, 0)) {
    const header = parseLine(bytes, name, 1) as Partial<LogHeader> | null;
    const isHeader = header?.kind === KIND && header.format === FORMAT_VERSION && isSeq(header.base);
    if (!isHeader)
      throw corruptLog(name, 1, `the header of a ${KIND} of format ${FORMAT_VERSION}`, 'another');
    return { header: header as LogHeader, next: { offset: end, line: 2, seq: header.base! } };
  }
  throw corruptLog(name, 1, 'a header', 'no whole line');
}

/**
 * The changes from a place on. A last line without its end is none: it is still being written, or never was.
 * @throws EspalierError (while it is read) ESP_ARTIFACT_CORRUPT with the line
 */
export function* readEntries(file: number, name: string, from: LogPlace): Generator<LogEntry> {
  let { line, seq } = from;
  for (const { bytes, end } of linesFrom(file, from.offset)) {
    const change = parseLine(bytes, name, line) as Partial<CatalogChange> | null;
    if (change?.seq !== seq + 1) {
      throw corruptLog(name, line, `change ${seq + 1}`, `change ${String(change?.seq)}`);
    }
    line++;
    seq++;
    yield { change: change as CatalogChange, next: { offset: end, line, seq } };
  }
}

export function corruptLog(name: string, line: number, expected: string, found: string): EspalierError {
  const message = `${name}, line ${line}: expected ${expected}, found ${found}`;
  return new EspalierError('ESP_ARTIFACT_CORRUPT', message);
}

function parseLine(bytes: Buffer, name: string, line: number): unknown {
  const json = bytes.subarray(CRC_DIGITS + 1);
  const expected = `${checksum(json)} `;
  const found = bytes.toString('latin1', 0, CRC_DIGITS + 1);
  if (found !== expected) {
    throw corruptLog(name, line, `the checksum ${expected.trim()}`, JSON.stringify(found.trim()));
  }
  try {
    return JSON.parse(json.toString());
  } catch {
    // Somebody has made the checksum fit.
    throw corruptLog(name, line, 'JSON', 'something else');
  }
}

/** Whole lines, without their ends. */
function* linesFrom(file: number, offset: number): Generator<{ bytes: Buffer; end: number }> {
  let pieces: Buffer[] = [];
  for (let at = offset; ; ) {
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    const rest = piece.subarray(0, readSync(file, piece, 0, PIECE_BYTES, at));
    if (rest.length === 0) return;
    let begin = 0;
    for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE, begin)) {
      const bytes = Buffer.concat([...pieces, rest.subarray(begin, end)]);
      pieces = [];
      begin = end + 1;
      yield { bytes, end: at + begin };
    }
    pieces.push(rest.subarray(begin));
    at += rest.length;
  }
}

function checksum(bytes: Buffer): string {
  return crc32(bytes).toString(16).padStart(CRC_DIGITS, '0');
}

function isSeq(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

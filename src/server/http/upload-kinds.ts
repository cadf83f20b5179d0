import type { IncomingHttpHeaders } from 'node:http';
import { type EspalierError, fieldError } from '../../errors.js';
import type { ItemFile, ItemFormat } from '../../static-trie/index.js';

/** What a file of an upload is. */
export type UploadKind = Pick<ItemFile, 'format' | 'isGzip'>;

/** The content types of uploads. Arrow's two formats tell themselves apart. */
export const uploadFormats: Readonly<Record<string, ItemFormat>> = {
  'application/x-ndjson': 'ndjson',
  'text/csv': 'csv',
  'application/vnd.apache.parquet': 'parquet',
  'application/vnd.apache.arrow.file': 'arrow',
  'application/vnd.apache.arrow.stream': 'arrow',
};

/** Types that clients give to files that they don't know: there the name's ending decides. */
const VAGUE_TYPES = ['application/octet-stream', 'text/plain', 'application/gzip', 'application/x-gzip'];

/**
 * Of an upload that is one file.
 * @throws EspalierError ESP_MEDIA_TYPE on encodings other than gzip, and text in other charsets than UTF-8
 */
export function kindOfBody(headers: IncomingHttpHeaders): UploadKind {
  const [type, ...parameters] = headers['content-type']!.split(';').map((part) => part.trim().toLowerCase());
  const charset = parameters.find((parameter) => parameter.startsWith('charset='));
  if (charset !== undefined && !/^charset="?utf-?8"?$/.test(charset)) {
    throw mediaType('content-type', 'charset=utf-8', charset);
  }
  const encoding = encodingOf(headers);
  if (encoding !== 'identity' && encoding !== 'gzip')
    throw mediaType('content-encoding', 'gzip, or none', encoding);
  return { format: uploadFormats[type], isGzip: encoding === 'gzip' };
}

/**
 * Of one file of a form. Its headers don't reach us but for the type: that it is packed, its name says (`.gz`).
 * @throws EspalierError ESP_MEDIA_TYPE that names the file
 */
export function kindOfPart(name: string, type: string): UploadKind {
  const [, ending, gzip] = /(?:\.([^.]*?))?(\.gz)?$/i.exec(name)!;
  const isGzip = gzip !== undefined;
  const declared = Object.hasOwn(uploadFormats, type) ? uploadFormats[type] : undefined;
  const named = VAGUE_TYPES.includes(type) ? formatOfEnding(ending) : undefined;
  const format = declared ?? named;
  if (format !== undefined) return { format, isGzip };
  const expected = `one of ${Object.keys(uploadFormats).join(', ')}, or a name that ends in ${ENDINGS}`;
  throw mediaType(name, expected, type);
}

const ENDINGS = '.ndjson, .csv, .parquet or .arrow (.gz)';

function formatOfEnding(ending: string | undefined): ItemFormat | undefined {
  return Object.values(uploadFormats).find((format) => format === ending?.toLowerCase());
}

/** A form is not packed as a whole: its files are. @throws EspalierError ESP_MEDIA_TYPE */
export function refusePackedForm(headers: IncomingHttpHeaders): void {
  const encoding = encodingOf(headers);
  if (encoding !== 'identity') throw mediaType('content-encoding', 'none; a form has packed files', encoding);
}

function encodingOf(headers: IncomingHttpHeaders): string {
  return (headers['content-encoding'] ?? 'identity').trim().toLowerCase();
}

function mediaType(field: string, expected: string, found: string): EspalierError {
  return fieldError('ESP_MEDIA_TYPE', field, expected, found);
}

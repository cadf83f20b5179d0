import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import type { RecommendQuery } from '../../decoder/index.js';
import { EspalierError, fieldError } from '../../errors.js';
import { isBlank, parseRequest } from '../bulk/parse-request.js';
import { requestLines } from '../bulk/request-lines.js';
import { type RecommendRequest, toQuery } from './to-query.js';

/** As a body of a server with the default configuration. */
const MAX_LINE_BYTES = 2 ** 20;

export interface RequestFileOptions {
  /** The one that all requests are for. */
  catalog: string;
  /** At most so many are read. */
  limit: number;
  /** Fields that every request gets, whatever its line says. */
  overrides: Partial<RecommendRequest>;
}

/**
 * A file of recommend requests, one a line as in a bulk job; a line may leave out its catalog.
 * @returns the requests with their defaults, their deadlines still to be set, and whether there are more
 * @throws EspalierError with the line: ESP_REQUEST_INVALID, ESP_BODY_MALFORMED, ESP_BODY_TOO_LARGE, ESP_BEAM_WIDTH;
 *   a system error where the file cannot be read
 */
export async function readRequestFile(
  path: string,
  { catalog, limit, overrides }: RequestFileOptions,
): Promise<{ queries: RecommendQuery[]; hasMore: boolean }> {
  const queries: RecommendQuery[] = [];
  for await (const line of requestLines(createReadStream(path), MAX_LINE_BYTES)) {
    if (isBlank(line)) continue;
    if (queries.length === limit) return { queries, hasMore: true };
    try {
      const request = { ...parseRequest(line, MAX_LINE_BYTES, { catalog }), ...overrides };
      if (request.catalog !== catalog) {
        throw fieldError('ESP_REQUEST_INVALID', 'catalog', catalog, request.catalog);
      }
      queries.push(toQuery(request, `line ${line.number}`, 0));
    } catch (thrown) {
      const { code, message, details } = EspalierError.from(thrown);
      throw new EspalierError(code, `${basename(path)}, line ${line.number}: ${message}`, {
        cause: thrown,
        ...(details && { details }),
      });
    }
  }
  if (queries.length > 0) return { queries, hasMore: false };
  const message = `${basename(path)}: expected recommend requests, one a line; found none`;
  throw new EspalierError('ESP_REQUEST_INVALID', message);
}

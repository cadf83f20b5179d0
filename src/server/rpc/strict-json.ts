import { isUtf8 } from 'node:buffer';
import { EspalierError } from '../../errors.js';
import { faultOfJson } from '../json-text.js';

/**
 * Decodes bytes of JSON as Connect asks for it, and refuses what the bodies of HTTP are refused for: what is not UTF-8
 * would silently become another text, and so another id, and of a name that comes twice one would be dropped.
 */
export const strictText = {
  /** @throws SyntaxError; EspalierError ESP_BODY_MALFORMED, ESP_REQUEST_INVALID */
  decode(bytes: Uint8Array): string {
    if (!isUtf8(bytes)) throw new EspalierError('ESP_BODY_MALFORMED', 'the body is not UTF-8');
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
    // The search for faults takes a text that is JSON, and Connect has not parsed it yet.
    JSON.parse(text);
    const fault = faultOfJson(text);
    if (fault !== undefined) throw fault;
    return text;
  },
};

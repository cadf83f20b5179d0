import { setBit, wordsFor } from '../kernels/index.js';
import type { StringTable } from './string-table.js';

/*
 * Texts are found by their UTF-8 bytes: a character's bytes never begin inside another's, so that bytes match where
 * characters do. That holds for well-formed texts only; half a surrogate pair has no bytes of its own.
 */

/** One bit a string: whether it contains the text. @param text well-formed, not empty */
export function stringsContaining({ bytes, offsets, length }: StringTable, text: string): Uint32Array {
  const found = new Uint32Array(wordsFor(length));
  const arena = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const part = Buffer.from(text);
  let index = 0;
  // The arena as one long text: a match that reaches into the next string is none.
  for (let at = arena.indexOf(part); at >= 0; at = arena.indexOf(part, at)) {
    while (offsets[index + 1] <= at) index++;
    if (at + part.length > offsets[index + 1]) {
      at++;
      continue;
    }
    setBit(found, index);
    at = offsets[index + 1];
  }
  return found;
}

/** One bit a string: whether it ends with the text. @param text well-formed */
export function stringsEndingWith({ bytes, offsets, length }: StringTable, text: string): Uint32Array {
  const found = new Uint32Array(wordsFor(length));
  const part = new TextEncoder().encode(text);
  for (let index = 0; index < length; index++) {
    const start = offsets[index + 1] - part.length;
    if (start < offsets[index]) continue;
    let same = 0;
    while (same < part.length && bytes[start + same] === part[same]) same++;
    if (same === part.length) setBit(found, index);
  }
  return found;
}

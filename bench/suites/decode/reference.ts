import { createHash } from 'node:crypto';
import type { Model } from '../../../src/decoder/model.js';
import type { Decoded, DecodeRequest } from './decoder.js';

/** Kernels sum the same exponentials in another order, and a model's rows lie in another order: the last digits. */
const TOLERANCE = 2e-5;
/** Where the last beam that is kept is no further ahead of the first that is not, last digits may decide. */
const CLEAR_GAP = 1e-4;

/** The SIDs that a request may get, in tokens, and their prefixes. */
export class AllowedSids {
  /** By length, as one number: `next` of one token after the other. */
  readonly #prefixes: Set<number>[] = [];
  readonly #vocabSize: number;

  /** @param vocabSize whose power of the levels is an exact number */
  constructor(sids: Iterable<readonly number[]>, vocabSize: number) {
    this.#vocabSize = vocabSize;
    for (const sid of sids) {
      let key = 0;
      sid.forEach((token, level) => {
        key = this.next(key, token);
        this.#prefixes[level] ??= new Set();
        this.#prefixes[level].add(key);
      });
    }
  }

  /** The number of a prefix one token longer; that of the empty one is 0. */
  next(key: number, token: number): number {
    return key * this.#vocabSize + token;
  }

  hasPrefix(length: number, key: number): boolean {
    return this.#prefixes[length - 1]?.has(key) ?? false;
  }

  has(sid: readonly number[]): boolean {
    return this.hasPrefix(
      sid.length,
      sid.reduce((key, token) => this.next(key, token), 0),
    );
  }
}

export interface Expected extends Decoded {
  /** Whether every choice was made by more than last digits: otherwise others may be right as well. */
  isClear: boolean;
}

/**
 * Beam search as it is written in a book: all children of all beams, sorted, in doubles. Slow, and with nothing in
 * common with what it is compared with but the model.
 * @param allowed null: whatever the model writes
 */
export async function referenceDecode(
  model: Model,
  { tokens: history }: DecodeRequest,
  beamWidth: number,
  allowed: AllowedSids | null,
): Promise<Expected> {
  const levels = model.levelTokens.length;
  const [prefill] = await model.prefill([history]);
  const decoding = model.begin([prefill]);
  let logits = { data: prefill.logits, firstRow: 0 };
  let beams = [{ sid: [] as number[], key: 0, score: 0 }];
  let isClear = true;
  for (let depth = 0; depth < levels; depth++) {
    const children: { parent: number; token: number; score: number }[] = [];
    beams.forEach(({ key, score }, parent) => {
      const start = (logits.firstRow + parent) * model.vocabSize;
      const row = logits.data.subarray(start, start + model.vocabSize);
      const highest = row.reduce((a, b) => Math.max(a, b));
      const normalizer = highest + Math.log(row.reduce((sum, one) => sum + Math.exp(one - highest), 0));
      row.forEach((logit, token) => {
        if (!Number.isFinite(logit)) return;
        if (allowed !== null && !allowed.hasPrefix(depth + 1, allowed.next(key, token))) return;
        children.push({ parent, token, score: score + logit - normalizer });
      });
    });
    children.sort((a, b) => b.score - a.score);
    const kept = children.slice(0, beamWidth);
    if (children.length > beamWidth && kept[beamWidth - 1].score - children[beamWidth].score < CLEAR_GAP)
      isClear = false;
    beams = kept.map(({ parent, token, score }) => ({
      sid: [...beams[parent].sid, token],
      key: allowed?.next(beams[parent].key, token) ?? 0,
      score,
    }));
    if (depth === levels - 1 || kept.length === 0) break;
    const next = {
      counts: Uint32Array.of(kept.length),
      parents: Uint32Array.from(kept, ({ parent }) => parent),
      tokens: Uint32Array.from(kept, ({ token }) => token),
    };
    const { data, firstRows } = await decoding.advance(next, depth === levels - 2);
    logits = { data, firstRow: firstRows[0] };
  }
  const whole = beams.filter(({ sid }) => sid.length === levels);
  return {
    sids: whole.map(({ sid }) => sid),
    scores: Float32Array.from(whole, ({ score }) => score),
    isClear,
  };
}

/** The first thing that is wrong with a decode; undefined where it is right. @param expected of a clear decode */
export function differenceOf(found: Decoded, expected: Decoded): string | undefined {
  const rightScores = new Map(expected.sids.map((sid, beam) => [keyOf(sid), expected.scores[beam]]));
  if (found.sids.length !== expected.sids.length || found.scores.length !== expected.sids.length) {
    return `expected ${expected.sids.length} beams, found ${found.sids.length} with ${found.scores.length} scores`;
  }
  const seen = new Set<string>();
  for (const [beam, sid] of found.sids.entries()) {
    const key = keyOf(sid);
    const score = found.scores[beam];
    const right = rightScores.get(key);
    if (right === undefined) return `beam ${beam}: ${key} is none of the ${expected.sids.length} best`;
    if (seen.has(key)) return `beam ${beam}: ${key} comes twice`;
    seen.add(key);
    if (!(Math.abs(score - right) <= TOLERANCE)) {
      return `beam ${beam}: expected the score ${right} for ${key}, found ${score}`;
    }
    if (beam > 0 && score > found.scores[beam - 1]) return `beam ${beam} is better than the one before`;
  }
  return undefined;
}

/** Of which SIDs were found; their order may differ where scores do in their last digits. */
export function hashOf(decodes: readonly Decoded[]): string {
  const hash = createHash('sha256');
  for (const { sids } of decodes) hash.update(`${sids.map(keyOf).sort().join(' ')}\n`);
  return hash.digest('hex').slice(0, 16);
}

function keyOf(sid: readonly number[]): string {
  return sid.join('-');
}

import { createHash } from 'node:crypto';
import type { ErrorDetail } from '../errors.js';
import { canonicalJson } from './canonical-json.js';
import type { ModelManifest } from './model-manifest.js';

/** What a model is, and what of it a catalog version depends on. */
export interface ModelInfo {
  contract: string;
  codebookSizes: readonly number[];
  vocabSize: number;
  /** SHA-256, hex, of the manifest's `tokens`: how codes and histories become tokens. */
  tokensDigest: string;
  /**
   * SHA-256, hex, of codebooks, vocabulary and tokens. Weights and contract are no part of it: a catalog's SIDs
   * mean the same to a model that was trained further, or exported in another way.
   */
  fingerprint: string;
}

export function fingerprintModel(
  { contract, sid, tokens }: Pick<ModelManifest, 'contract' | 'sid' | 'tokens'>,
  vocabSize: number,
): ModelInfo {
  const { codebookSizes } = sid;
  const tokensDigest = sha256(canonicalJson(tokens));
  const fingerprint = sha256(canonicalJson({ codebookSizes, vocabSize, tokensDigest }));
  return { contract, codebookSizes, vocabSize, tokensDigest, fingerprint };
}

/** In what a model differs from what was expected of it; empty when the fingerprints are equal. */
export function fingerprintFaults(expected: ModelInfo, found: ModelInfo): ErrorDetail[] {
  if (expected.fingerprint === found.fingerprint) return [];
  const compared: [string, (info: ModelInfo) => string][] = [
    ['sid.codebookSizes', ({ codebookSizes }) => `[${codebookSizes.join(', ')}]`],
    ['vocabSize', ({ vocabSize }) => String(vocabSize)],
    ['tokens', ({ tokensDigest }) => `tokens of SHA-256 ${tokensDigest.slice(0, 12)}…`],
  ];
  return compared
    .map(([field, show]) => ({ field, expected: show(expected), found: show(found) }))
    .filter(({ expected, found }) => expected !== found);
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

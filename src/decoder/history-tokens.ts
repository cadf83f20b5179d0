import { type LevelTokens, tokenOf } from '../kernels/index.js';
import type { ModelManifest } from './model-manifest.js';

/** The tokens that the model reads for a history: bos, prefix, items, suffix. May be none. */
export function historyTokens(
  { manifest, levelTokens }: { manifest: ModelManifest; levelTokens: readonly LevelTokens[] },
  sids: readonly ArrayLike<number>[],
): number[] {
  const { bos, prefix = [], suffix = [] } = manifest.tokens;
  const { maxItems, order } = manifest.context;
  const recent = sids.slice(-maxItems);
  if (order === 'newestFirst') recent.reverse();
  const items = recent.flatMap((sid) => levelTokens.map((tokens, level) => tokenOf(tokens, sid[level])));
  return [...(bos === undefined ? [] : [bos]), ...prefix, ...items, ...suffix];
}

/** Tokens of the longest history that the model reads: what it was tried with when it was opened. */
export function maxHistoryTokens({ tokens, context, sid }: ModelManifest): number {
  const { bos, prefix = [], suffix = [] } = tokens;
  const around = (bos === undefined ? 0 : 1) + prefix.length + suffix.length;
  return around + context.maxItems * sid.codebookSizes.length;
}

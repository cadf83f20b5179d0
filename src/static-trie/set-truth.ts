import type { ListFile } from './list-file.js';
import type { RuleParams } from './rules/index.js';

/** What a set is, whatever the catalog version: its bitmaps are derived from this for each. */
export type SetTruth = { kind: 'rule'; rule: string; params: RuleParams } | ({ kind: 'list' } & ListFile);

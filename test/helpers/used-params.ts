import type { RuleParams } from '../../src/static-trie/index.js';

/** The parameters that a rule mentions; further ones are refused. */
export function usedParams(rule: string, params: RuleParams): RuleParams {
  const isUsed = (name: string) => new RegExp(`params\\s*\\.\\s*${name}\\b`).test(rule);
  return Object.fromEntries(Object.entries(params).filter(([name]) => isUsed(name)));
}

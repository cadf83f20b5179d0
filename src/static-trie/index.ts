export {
  type BuiltTrie,
  buildStaticTrie,
  leafRanksOfRows,
  MAX_CODEBOOK_SIZE,
  MAX_LEVELS,
  type SidRows,
} from './build.js';
export { type BuildOptions, buildTrie } from './build-trie.js';
export {
  openCatalogFile,
  openCatalogFileInTurns,
  verifyCatalogFile,
  writeCatalogFile,
} from './catalog-file.js';
export {
  type BoundSet,
  CatalogSnapshot,
  type DerivedSet,
  type EvaluatedSet,
  type SetRule,
} from './catalog-snapshot.js';
export {
  type CatalogVersion,
  CatalogVersionBuilder,
  compareCodeUnits,
  itemsOfLeaf,
  sidOf,
} from './catalog-version.js';
export type { CatalogChange } from './change-lines.js';
export { ChangeLog } from './change-log.js';
export { ChangeReader } from './change-reader.js';
export { changedAdds } from './changed-adds.js';
export type { ItemUpdate } from './changed-items.js';
export { buildColumn } from './column-builder.js';
export {
  type AttributeSchema,
  type AttributeType,
  type AttributeValue,
  attributeTypes,
  type Column,
  type ColumnTable,
  jsonValueAt,
  valueAt,
} from './columns.js';
export {
  type ConstraintSet,
  combineSets,
  constraintSetFromItems,
  constraintSetFromLeaves,
  countLiveNodes,
  setByteLength,
  setHasItem,
} from './constraint-set.js';
export { openConstraintSetFile, writeConstraintSetFile } from './constraint-set-file.js';
export {
  isSystemError,
  orWriteFailure,
  syncFolder,
  syncName,
  writeDurably,
  writeFailure,
} from './durable-file.js';
export { inFile, readSidRows } from './exchange/sid-rows.js';
export { type DenseLookupLayers, exportStatic } from './exchange/static-csr.js';
export { readStaticFolder, writeStaticFolder } from './exchange/static-folder.js';
export { importStatic } from './exchange/static-import.js';
export { type Exclusions, isExcluded, prepareExclusions } from './exclusions.js';
export { findLeaf } from './find-leaf.js';
export { type IndexFile, openIndexFile, verifyIndexFile } from './index-file.js';
export { ByteBudget } from './items/byte-budget.js';
export { checkItem, type ParsedItem } from './items/check-item.js';
export { checkUpdate } from './items/check-update.js';
export { Faults, MAX_FAULTS } from './items/faults.js';
export { type ItemFile, type ItemFormat, itemFormats } from './items/item-source.js';
export { readItems } from './items/read-items.js';
export type { ReadOptions } from './items/read-rows.js';
export { type ListKind, readSetList, type SetList } from './items/read-set-list.js';
export { findRepeatedName } from './items/repeated-name.js';
export { unpackedBytes } from './items/unpacked.js';
export { WholeGunzip } from './items/whole-gunzip.js';
export { isListed, type ListedItems, type ListFile, selectListed } from './list-file.js';
export { constraintSetFromList } from './listed-set.js';
export { OpenSets, type SetLease } from './open-sets.js';
export type { Progress } from './progress.js';
export { orReadFailure, readFailure } from './read-failure.js';
export { rebuildVersion } from './rebuild-version.js';
export type { EffectiveSet } from './removed-items.js';
export {
  type CompiledRule,
  compileRule,
  evaluateRule,
  explainRule,
  isAttributeName,
  loadRuleParser,
  MAX_RULE_LENGTH,
  type ParamValue,
  type PartVerdict,
  type RuleParams,
  type RuleVerdict,
  ruleTruth,
  type Verdict,
} from './rules/index.js';
export { sampleItems } from './sample-items.js';
export type { SetTruth } from './set-truth.js';
export { catalogOfTrie } from './trie-as-catalog.js';
export { openTrieFile, writeTrieFile } from './trie-file.js';
export { trieByteLength } from './trie-sections.js';
export { type FanOut, type TrieStats, trieStats } from './trie-stats.js';

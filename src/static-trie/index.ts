export { type BuiltTrie, buildStaticTrie, MAX_CODEBOOK_SIZE, MAX_LEVELS, type SidRows } from './build.js';
export { openCatalogFile, writeCatalogFile } from './catalog-file.js';
export { type CatalogVersion, CatalogVersionBuilder, compareCodeUnits } from './catalog-version.js';
export {
  type AttributeSchema,
  type AttributeType,
  type AttributeValue,
  attributeTypes,
  buildColumn,
  type Column,
  type ColumnTable,
  valueAt,
} from './columns.js';
export {
  type ConstraintSet,
  constraintSetFromItems,
  intersectSets,
  setHasItem,
} from './constraint-set.js';
export { syncFolder, writeDurably } from './durable-file.js';
export { type Exclusions, prepareExclusions } from './exclusions.js';
export { type ParsedItem, parseItem, parseTimestamp } from './item-parser.js';
export { indexLeafItems, type LeafItems, leafOfItem } from './leaf-items.js';
export { countLiveNodes, deriveLiveLeaves } from './node-bits.js';
export { type Progress, readItems } from './read-items.js';
export { findRepeatedName } from './repeated-name.js';
export {
  type CompiledRule,
  compileRule,
  evaluateRule,
  isAttributeName,
  MAX_RULE_LENGTH,
  type ParamValue,
  type RuleParams,
} from './rules/index.js';

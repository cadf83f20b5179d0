export { type BuiltTrie, buildStaticTrie, leafRanksOfRows, MAX_CODEBOOK_SIZE, MAX_LEVELS } from './build.js';
export { openCatalogFile, writeCatalogFile } from './catalog-file.js';
export { type CatalogVersion, CatalogVersionBuilder, compareCodeUnits, sidOf } from './catalog-version.js';
export {
  type AttributeSchema,
  type AttributeType,
  type AttributeValue,
  attributeTypes,
  buildColumn,
  type Column,
  type ColumnTable,
  jsonValueAt,
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
export { firstItemOf, type LeafItems, leafOfItem } from './leaf-items.js';
export { countLiveNodes } from './node-bits.js';
export { type Progress, readItems } from './read-items.js';
export { findRepeatedName } from './repeated-name.js';
export {
  compileRule,
  evaluateRule,
  isAttributeName,
  MAX_RULE_LENGTH,
  type ParamValue,
  type RuleParams,
} from './rules/index.js';

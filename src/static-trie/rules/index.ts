/** Rules: CEL expressions over an item's attributes, evaluated a column at a time into bitmaps. */
export { type CompiledRule, compileRule, evaluateRule } from './compile-rule.js';
export { explainRule, type PartVerdict, type RuleVerdict, type Verdict } from './explain-rule.js';
export { MAX_LIST_LENGTH, MAX_RULE_LENGTH, MAX_RULE_NESTING } from './limits.js';
export { isAttributeName } from './names.js';
export type { ParamValue, RuleParams } from './params.js';
export { ruleTruth } from './rule-truth.js';
export { loadRuleParser } from './syntax.js';

import { tests } from '@bufbuild/cel-spec/testdata/conformance.js';
import { expect, it } from 'vitest';
import { EspalierError } from '../../../src/errors.js';
import { isBitSet } from '../../../src/kernels/index.js';
import { type AttributeType, type AttributeValue, buildColumn } from '../../../src/static-trie/index.js';
import { compileRule, evaluateRule } from '../../../src/static-trie/rules/index.js';

/** CEL's own cases (github.com/google/cel-spec), as the package has them: a protobuf message in JSON. */
interface Case {
  name: string;
  expr: string;
  /** What the expression gives; true where neither is there. */
  value?: Json;
  typedResult?: { result?: Json };
  evalError?: unknown;
  bindings?: Record<string, { value?: Json }>;
  checkOnly?: boolean;
  /** The case would not pass CEL's type checker. */
  disableCheck?: boolean;
}
type Json = Record<string, unknown>;
interface Suite {
  name: string;
  suites?: Suite[];
  tests?: { original: unknown }[];
}
interface Attribute {
  type: AttributeType;
  value: AttributeValue;
}

const EXTENSIONS = /^\/(\w+_ext|optionals)\//;

it("agrees with CEL's conformance cases wherever rules support them", () => {
  const agreed = { 'by value': 0, 'by error': 0, 'by refusing what is an error': 0 };
  const skipped = new Map<string, number>();
  const disagreements: string[] = [];
  for (const { path, test } of casesOf(tests as Suite, '')) {
    const outcome: Outcome = EXTENSIONS.test(path) ? { skipped: 'an extension of CEL' } : outcomeOf(test);
    if ('skipped' in outcome) skipped.set(outcome.skipped, (skipped.get(outcome.skipped) ?? 0) + 1);
    else if ('agreed' in outcome) agreed[outcome.agreed]++;
    else disagreements.push(`${path} ${test.expr}: ${outcome.disagreed}`);
  }
  console.log(`agreed: ${JSON.stringify(agreed)}`);
  console.log(
    `skipped: ${JSON.stringify(Object.fromEntries([...skipped].sort(([, a], [, b]) => b - a)), null, 2)}`,
  );
  expect(disagreements).toEqual([]);
  expect(agreed['by value']).toBeGreaterThan(350);
  expect(agreed['by error']).toBeGreaterThan(20);
});

type Outcome =
  | { agreed: 'by value' | 'by error' | 'by refusing what is an error' }
  | { skipped: string }
  | { disagreed: string };

function outcomeOf(test: Case): Outcome {
  if (test.checkOnly) return { skipped: 'only checked, not evaluated' };
  const attributes = new Map<string, Attribute>();
  for (const [name, { value = {} }] of Object.entries(test.bindings ?? {})) {
    if (name.includes('.')) return { skipped: 'a namespace' };
    const attribute = attributeOf(value);
    if (!attribute) return { skipped: `a binding that no attribute holds: ${Object.keys(value)[0]}` };
    attributes.set(name, attribute);
  }
  try {
    if (test.evalError) return errorOutcome(test.expr, attributes);
    const expected = test.value ?? test.typedResult?.result ?? { boolValue: true };
    const rule = ruleFor(test.expr, expected);
    if (rule === undefined)
      return { skipped: `a result that rules do not have: ${Object.keys(expected)[0]}` };
    const found = verdict(rule, attributes);
    return found === true
      ? { agreed: 'by value' }
      : { disagreed: `${JSON.stringify(expected)}, ${rule} is ${found}` };
  } catch (thrown) {
    if (!(thrown instanceof EspalierError)) throw thrown;
    if (test.evalError && thrown.code !== 'ESP_RULE_UNSUPPORTED')
      return { agreed: 'by refusing what is an error' };
    if (thrown.code === 'ESP_RULE_UNSUPPORTED') return { skipped: 'not supported' };
    if (thrown.code === 'ESP_RULE_NAME') return { skipped: 'a name that is bound to nothing' };
    // docs/rules.md, "Types": checked when the rule is uploaded, where CEL would only find out at evaluation.
    if (isMixed(test, thrown)) return { skipped: 'types that are mixed' };
    if (test.expr.includes('`')) return { skipped: 'a name in backquotes' };
    return { disagreed: thrown.message };
  }
}

function isMixed({ disableCheck }: Case, { code, details }: EspalierError): boolean {
  return (
    code === 'ESP_RULE_TYPE' && (disableCheck === true || details![0].expected.endsWith('as the list begins'))
  );
}

function errorOutcome(expr: string, attributes: Map<string, Attribute>): Outcome {
  const isBool = typeOf(expr, attributes) === 'bool';
  const found = verdict(isBool ? expr : `(${expr}) == (${expr})`, attributes);
  return found === 'error' ? { agreed: 'by error' } : { disagreed: `an error, is ${found}` };
}

/** A rule that is true where the expression has the expected value. */
function ruleFor(expr: string, expected: Json): string | undefined {
  const [[kind, value]] = Object.entries(expected);
  switch (kind) {
    case 'boolValue':
      return value === true ? expr : `!(${expr})`;
    case 'int64Value':
      return `(${expr}) == ${value}`;
    case 'doubleValue':
      if (value === 'NaN') return `(${expr}) != (${expr})`;
      if (typeof value === 'string') return `(${expr}) == ${value.replace('Infinity', '1.0')} / 0.0`;
      return `(${expr}) == ${(value as number).toExponential()}`;
    case 'stringValue':
      return `(${expr}) == ${JSON.stringify(value)}`;
    case 'objectValue': {
      const object = value as Json;
      const name = String(object['@type']).split('.').at(-1);
      if (name === 'Timestamp') return `(${expr}) == timestamp(${JSON.stringify(object.value)})`;
      return name === 'Duration' ? `(${expr}) == duration(${JSON.stringify(object.value)})` : undefined;
    }
  }
  return undefined;
}

function attributeOf(value: Json): Attribute | undefined {
  const [[kind, content] = ['nothing']] = Object.entries(value);
  switch (kind) {
    case 'boolValue':
      return { type: 'bool', value: content as boolean };
    case 'int64Value':
      return { type: 'int64', value: Number(content) };
    case 'doubleValue':
      return { type: 'double', value: Number(content) };
    case 'stringValue':
      return { type: 'string', value: content as string };
    case 'listValue': {
      const entries = ((content as { values?: Json[] }).values ?? []).map((entry) => entry.stringValue);
      return entries.every((entry) => typeof entry === 'string')
        ? { type: 'string[]', value: entries }
        : undefined;
    }
  }
  return undefined;
}

/** What a rule says of one item with these attributes. */
function verdict(rule: string, attributes: Map<string, Attribute>): boolean | 'error' {
  const columns = new Map(
    [...attributes].map(([name, { type, value }]) => [name, buildColumn(type, [value])]),
  );
  const allows = (source: string) => {
    const compiled = compileRule(source, Object.fromEntries(attributes), {});
    return isBitSet(evaluateRule(compiled, { itemCount: 1, columns }, 0), 0);
  };
  const [isTrue, isFalse] = [allows(rule), allows(`!(${rule})`)];
  if (isTrue && isFalse) throw new Error(`${rule} is true and false`);
  return isTrue ? true : isFalse ? false : 'error';
}

/** The type of an expression that compiles; what refuses it otherwise, is thrown. */
function typeOf(expr: string, attributes: Map<string, Attribute>): string {
  try {
    compileRule(expr, Object.fromEntries(attributes), {});
    return 'bool';
  } catch (thrown) {
    const [detail] = (thrown as EspalierError).details ?? [];
    if (detail?.expected !== 'the rule to be bool') throw thrown;
    return detail.found;
  }
}

function* casesOf(
  { suites = [], tests: cases = [] }: Suite,
  path: string,
): Generator<{ path: string; test: Case }> {
  for (const { original } of cases)
    yield { path: `${path}/${(original as Case).name}`, test: original as Case };
  for (const suite of suites) yield* casesOf(suite, `${path}/${suite.name}`);
}

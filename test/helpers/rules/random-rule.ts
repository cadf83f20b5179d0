import {
  type AttributeSchema,
  type AttributeType,
  type AttributeValue,
  attributeTypes,
  buildColumn,
  type ColumnTable,
} from '../../../src/static-trie/index.js';
import type { RuleParams } from '../../../src/static-trie/rules/index.js';
import type { Random } from '../random.js';

export const NOW_MS = Date.UTC(2024, 1, 29, 12, 30, 15, 250);
const DAY_MS = 86_400_000;
/** What literals are picked from; and where a table has no values of its own, those, too. */
export interface Pools {
  words: readonly string[];
  ints: readonly number[];
  doubles: readonly number[];
  times: readonly number[];
}
const WORDS = ['', 'a', 'ab', 'Ub', 'b', 'é', '💥', 'a💥', '～', 'U"\\\n', 'size'];
const INTS = [0, 1, -1, 2, 3, 7, 1000, -7, 2 ** 53 - 1, -(2 ** 53 - 1), 2 ** 31, 3037000500];
const DOUBLES = [0, -0, 1, 1.5, -2, 0.1, 3, 7, 1e300, -1e300, 2 ** 53, 9.3e18];
const TIMES = [
  NOW_MS,
  NOW_MS - 7 * DAY_MS,
  NOW_MS - 1,
  0,
  -1,
  -2e12,
  Date.UTC(2023, 11, 31, 23, 59, 59, 999),
];
const TIME_LITERALS = [
  '2024-02-29T12:30:15.250Z',
  '2024-02-22T12:30:15.25Z',
  '1969-12-31T23:59:59.999Z',
  '2024-02-29T14:30:15.250+02:00',
  '9999-12-31T23:59:59Z',
];
const POOLS: Pools = { words: WORDS, ints: INTS, doubles: DOUBLES, times: [] };
const DURATIONS = ['168h', '1ms', '-1h30m', '0', '1.5s', '2000000h', '24h'];

export interface RuleCase {
  schema: AttributeSchema;
  table: ColumnTable;
  params: RuleParams;
  rule: string;
}

export function randomCase(random: Random): RuleCase {
  const schema: Record<string, { type: AttributeType }> = {};
  for (const type of attributeTypes) {
    const prefix = type.replace('[]', 's');
    for (let index = 0; index < 2; index++) {
      if (random.chance(0.9))
        schema[index === 0 && type === 'int64' ? 'size' : `${prefix}_${index}`] = { type };
    }
  }
  const itemCount = random.pick([0, 1, 2, 31, 32, 33, 63, 64, 65, 90]);
  const missing = random.pick([0, 0.2, 0.5, 1]);
  const columns = new Map(
    Object.entries(schema).map(([name, { type }]) => [
      name,
      buildColumn(
        type,
        Array.from({ length: itemCount }, () => (random.chance(missing) ? undefined : value(type, random))),
      ),
    ]),
  );
  const params: RuleParams = {
    d: random.pick(DOUBLES),
    s: random.pick(WORDS),
    b: random.chance(0.5),
    strings: Array.from({ length: random.below(4) }, () => random.pick(WORDS)),
    numbers: Array.from({ length: random.below(4) }, () => random.pick(DOUBLES)),
  };
  const rule = new RuleWriter(schema, random).bool(1 + random.below(5));
  return { schema, table: { itemCount, columns }, params, rule };
}

function value(type: AttributeType, random: Random): AttributeValue {
  switch (type) {
    case 'bool':
      return random.chance(0.5);
    case 'int64':
      return random.pick(INTS);
    case 'double':
      return random.pick(DOUBLES);
    case 'string':
      return random.pick(WORDS);
    case 'timestamp':
      return random.pick(TIMES);
    case 'string[]':
      return Array.from({ length: random.below(4) }, () => random.pick(WORDS));
  }
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

type Ordered = 'int' | 'double' | 'string' | 'timestamp' | 'duration';
const ORDERED: Ordered[] = ['int', 'double', 'string', 'timestamp', 'duration'];

/** Writes well-typed rules of the supported grammar. */
export class RuleWriter {
  /** Set inside a macro's test, where attributes cannot be read. */
  #variable: string | undefined;

  constructor(
    readonly schema: AttributeSchema,
    readonly random: Random,
    readonly pools: Pools = POOLS,
    /** The values of a list of constants at most. */
    readonly listLength = 3,
  ) {}

  bool(depth: number): string {
    const { random } = this;
    if (depth <= 0) return this.#leaf('bool', () => random.pick(['true', 'false', 'params.b']));
    const list = this.#names('string[]');
    const isTop = this.#variable === undefined;
    switch (random.below(14)) {
      case 0:
      case 1:
        return `(${this.bool(depth - 1)} && ${this.bool(depth - 1)})`;
      case 2:
      case 3:
        return `(${this.bool(depth - 1)} || ${this.bool(depth - 1)})`;
      case 4:
        return `!(${this.bool(depth - 1)})`;
      case 5:
        return `(${this.bool(depth - 1)} ? ${this.bool(depth - 1)} : ${this.bool(depth - 1)})`;
      case 6:
        return `(${this.bool(depth - 1)} ${random.pick(['==', '!='])} ${this.bool(depth - 1)})`;
      case 7: {
        const names = Object.keys(this.schema);
        if (!isTop || names.length === 0) return 'has(params.s)';
        return `has(item.${random.pick(names)})`;
      }
      case 8:
        return this.#membership(depth - 1);
      case 9: {
        const method = random.pick(['contains', 'startsWith', 'endsWith']);
        return `${this.#of('string', depth - 1)}.${method}(${this.#of('string', depth - 2)})`;
      }
      case 10:
        if (isTop && list.length > 0) return this.#macro(random.pick(list), depth - 1);
        return this.#comparison(depth);
      default:
        return this.#comparison(depth);
    }
  }

  /** An attribute against constants, which is what rules are mostly made of. */
  simple(): string {
    const { random } = this;
    const type = random.pick(['int', 'double', 'string', 'timestamp'] as const);
    const names = this.#names(type === 'int' ? 'int64' : type);
    if (names.length === 0) return this.bool(1);
    const name = random.pick(names);
    const isMixed = (type === 'int' || type === 'double') && random.chance(0.4);
    const literal = () => this.#literal(isMixed ? (type === 'int' ? 'double' : 'int') : type);
    if (random.chance(0.3)) {
      return `(${name} in [${Array.from({ length: random.below(this.listLength + 1) }, literal).join(', ')}])`;
    }
    if (type === 'string' && random.chance(0.5)) {
      return `${name}.${random.pick(['contains', 'startsWith', 'endsWith'])}(${literal()})`;
    }
    const sides = random.chance(0.5) ? [name, literal()] : [literal(), name];
    return `(${sides.join(random.pick([' == ', ' != ', ' < ', ' <= ', ' > ', ' >= ']))})`;
  }

  #comparison(depth: number): string {
    const { random } = this;
    const type = random.pick(ORDERED);
    const isMixed = (type === 'int' || type === 'double') && random.chance(0.4);
    const other = isMixed ? (type === 'int' ? 'double' : 'int') : type;
    const sign = random.pick(['==', '!=', '<', '<=', '>', '>=']);
    return `(${this.#of(type, depth - 1)} ${sign} ${this.#of(other, depth - 1)})`;
  }

  #membership(depth: number): string {
    const { random } = this;
    const list = this.#names('string[]');
    const literals = (one: () => string) =>
      `[${Array.from({ length: random.below(this.listLength + 1) }, one).join(', ')}]`;
    switch (random.below(5)) {
      case 0:
        return `(${this.#of('string', depth)} in ${random.chance(0.5) ? 'params.strings' : literals(() => this.#literal('string'))})`;
      case 1: {
        const numbers = literals(() => this.#literal(random.pick(['int', 'double'] as const)));
        const type = random.pick(['int', 'double'] as const);
        return `(${this.#of(type, depth)} in ${random.chance(0.5) ? 'params.numbers' : numbers})`;
      }
      case 2:
        return `(${this.#of('timestamp', depth)} in ${literals(() => this.#literal('timestamp'))})`;
      case 3:
        return `(${this.bool(depth)} in ${literals(() => random.pick(['true', 'false']))})`;
      default:
        if (this.#variable !== undefined || list.length === 0) return 'params.b';
        return `(${this.#of('string', depth)} in ${random.pick(list)})`;
    }
  }

  #macro(list: string, depth: number): string {
    this.#variable = this.random.pick(['c', 'size', 'string_0']);
    const test = this.bool(Math.min(depth, 3));
    const text = `${list}.${this.random.pick(['exists', 'all', 'exists_one'])}(${this.#variable}, ${test})`;
    this.#variable = undefined;
    return text;
  }

  #of(type: Ordered, depth: number): string {
    const { random } = this;
    if (depth <= 0) return this.#leaf(type, () => this.#literal(type));
    if (random.chance(0.15)) {
      return `(${this.bool(depth - 1)} ? ${this.#of(type, depth - 1)} : ${this.#of(type, depth - 1)})`;
    }
    if (random.chance(0.4)) return this.#of(type, 0);
    const pair = (sign: string, left: Ordered, right: Ordered) =>
      `(${this.#of(left, depth - 1)} ${sign} ${this.#of(right, depth - 1)})`;
    switch (type) {
      case 'int':
        return this.#int(depth, pair);
      case 'double':
        return random.pick([
          () => pair(random.pick(['+', '-', '*', '/']), 'double', 'double'),
          () => `double(${this.#of('int', depth - 1)})`,
          () => `(-(${this.#of('double', depth - 1)}))`,
        ])();
      case 'string':
        return random.chance(0.5)
          ? `(${this.#of('string', depth - 1)} + ${this.#literal('string')})`
          : `(${this.#literal('string')} + ${this.#of('string', depth - 1)})`;
      case 'timestamp':
        return random.chance(0.7)
          ? pair(random.pick(['+', '-']), 'timestamp', 'duration')
          : pair('+', 'duration', 'timestamp');
      case 'duration':
        return random.chance(0.6)
          ? pair('-', 'timestamp', 'timestamp')
          : pair(random.pick(['+', '-']), 'duration', 'duration');
    }
  }

  #int(depth: number, pair: (sign: string, left: Ordered, right: Ordered) => string): string {
    const { random } = this;
    const list = this.#names('string[]');
    const parts = 'FullYear Month Date DayOfMonth DayOfWeek DayOfYear Hours Minutes Seconds Milliseconds';
    return random.pick([
      () => pair(random.pick(['+', '-', '*', '/', '%']), 'int', 'int'),
      () => pair(random.pick(['+', '-', '*', '/', '%']), 'int', 'int'),
      () => `(-(${this.#of('int', depth - 1)}))`,
      () => `size(${this.#of('string', depth - 1)})`,
      () => `${this.#of('string', depth - 1)}.size()`,
      () => `int(${this.#of(random.pick(['double', 'timestamp', 'duration'] as const), depth - 1)})`,
      () => `${this.#of('timestamp', depth - 1)}.get${random.pick(parts.split(' '))}()`,
      () => `${this.#of('duration', depth - 1)}.get${random.pick(['Hours', 'Minutes', 'Seconds'])}()`,
      () =>
        this.#variable === undefined && list.length > 0
          ? `size(${random.pick(list)})`
          : 'size(params.strings)',
    ])();
  }

  /** An attribute of the type most of the time, else what `literal` gives. */
  #leaf(type: Ordered | 'bool', literal: () => string): string {
    const { random } = this;
    if (type === 'string' && this.#variable !== undefined && random.chance(0.6)) return this.#variable;
    const names = this.#variable === undefined ? this.#names(type === 'int' ? 'int64' : type) : [];
    return names.length > 0 && random.chance(0.75) ? random.pick(names) : literal();
  }

  /** The attributes of a type, each by its bare name and as a field of item. */
  #names(type: string): string[] {
    return Object.keys(this.schema)
      .filter((name) => this.schema[name].type === type)
      .flatMap((name) => [name, `item.${name}`]);
  }

  #literal(type: Ordered): string {
    const { random } = this;
    switch (type) {
      case 'int':
        return String(
          random.chance(0.1)
            ? random.pick(['9223372036854775807', '-9223372036854775808', '9007199254740993', '0x1F'])
            : random.pick(this.pools.ints),
        );
      case 'double': {
        if (random.chance(0.3)) return 'params.d';
        const number = random.pick(this.pools.doubles);
        return Object.is(number, -0) ? '-0.0' : number.toExponential();
      }
      case 'string':
        return random.chance(0.2) ? 'params.s' : JSON.stringify(random.pick(this.pools.words));
      case 'timestamp':
        if (random.chance(0.4)) return 'now';
        return `timestamp("${random.pick([...TIME_LITERALS, ...this.pools.times.map(isoTime)])}")`;
      case 'duration':
        return `duration("${random.pick(DURATIONS)}")`;
    }
  }
}

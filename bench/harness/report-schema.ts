import { type Static, Type } from 'typebox';
import { Value } from 'typebox/value';
import type { SuiteReport } from './types.js';

const closed = { additionalProperties: false };
const Time = Type.Number({ minimum: 0 });

const unit = Type.Union([
  Type.Literal('us'),
  Type.Literal('ms'),
  Type.Literal('s'),
  Type.Literal('bytes'),
  Type.Literal('bytes/item'),
  Type.Literal('share'),
  Type.Literal('per second'),
  Type.Literal('count'),
]);
const ratio = Type.Object(
  {
    median: Type.Number(),
    low: Type.Optional(Type.Number()),
    high: Type.Optional(Type.Number()),
    pairs: Type.Optional(Type.Integer({ minimum: 0 })),
    otherP50: Type.Optional(Type.Number({ minimum: 0 })),
  },
  closed,
);
const spread = Type.Object(
  { p50: Time, p95: Time, p99: Time, max: Time, samples: Type.Integer({ minimum: 1 }) },
  closed,
);
const measure = Type.Object({ value: Type.Number(), unit }, closed);
const place = Type.Union([Type.Number(), Type.String()]);

const rival = Type.Object(
  {
    name: Type.String({ minLength: 1 }),
    kind: Type.Union([Type.Literal('ours'), Type.Literal('rival'), Type.Literal('floor')]),
    status: Type.Union([Type.Literal('timed'), Type.Literal('failed'), Type.Literal('skipped')]),
    reason: Type.Optional(Type.String()),
    unit: Type.Optional(unit),
    spread: Type.Optional(spread),
    ratioTo: Type.Optional(Type.Record(Type.String(), ratio)),
    resultHash: Type.Optional(Type.String()),
    isApproximate: Type.Optional(Type.Boolean()),
    extras: Type.Optional(Type.Record(Type.String(), measure)),
  },
  closed,
);

const series = Type.Object(
  {
    name: Type.String({ minLength: 1 }),
    unit,
    points: Type.Array(Type.Tuple([Time, Type.Number()])),
  },
  closed,
);

const caseResult = Type.Object(
  {
    suite: Type.String(),
    axis: Type.String(),
    at: place,
    parameters: Type.Record(Type.String(), place),
    rivals: Type.Array(rival),
    failed: Type.Optional(Type.String()),
    series: Type.Optional(Type.Array(series)),
    verdict: Type.Optional(Type.String()),
    isPartial: Type.Optional(Type.Boolean()),
  },
  closed,
);

/** `SuiteReport` of types.ts, to be checked where it comes from a file. */
export const suiteReport = Type.Object(
  {
    format: Type.Literal(1),
    suite: Type.String({ minLength: 1 }),
    machine: Type.Object(
      {
        cpu: Type.String(),
        cores: Type.Integer({ minimum: 1 }),
        memoryBytes: Type.Integer({ minimum: 1 }),
        cpuFeatures: Type.Array(Type.String()),
        node: Type.String(),
        os: Type.String(),
        versions: Type.Record(Type.String(), Type.String()),
      },
      closed,
    ),
    commit: Type.String({ minLength: 1 }),
    startedAt: Type.String({ pattern: '^\\d{4}-\\d\\d-\\d\\dT' }),
    seconds: Time,
    size: Type.Union([Type.Literal('small'), Type.Literal('quick'), Type.Literal('full')]),
    seed: Type.Integer({ minimum: 0 }),
    isComplete: Type.Boolean(),
    noise: Type.Object(
      { beforeUs: spread, afterUs: spread, isNoisy: Type.Boolean(), why: Type.String({ minLength: 1 }) },
      closed,
    ),
    cases: Type.Array(caseResult),
    skipped: Type.Array(Type.Object({ axis: Type.String(), at: place, reason: Type.String() }, closed)),
  },
  closed,
);

/** @throws Error that says where a report differs from what it must be */
export function checkReport(value: unknown): SuiteReport {
  if (!Value.Check(suiteReport, value)) {
    const [first] = Value.Errors(suiteReport, value);
    throw new Error(`not a report of a suite: ${first.instancePath || '/'} ${first.message}`);
  }
  return value;
}

/** Fails to compile where the schema and the type part ways. */
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
export const schemaFitsType: Same<Static<typeof suiteReport>, SuiteReport> = true;

import { EspalierError, fieldError } from '../errors.js';
import {
  type Constraint,
  constraintFault,
  MAX_BEAM_WIDTH,
  type Normalization,
  normalizations,
  type TrieArrays,
} from '../kernels/index.js';
import type { ConstraintSet, Exclusions } from '../static-trie/index.js';
import type { Model } from './model.js';

/** One decode: what the model reads, and what it may answer. */
export interface DecodeInput {
  trie: TrieArrays;
  /** Which leaves are live; null, or absent: all. */
  set?: ConstraintSet | null;
  /** Prepared against `set`. */
  exclusions?: Exclusions | null;
  /** [1 or more] what the model reads: integers below its `vocabSize`. @see historyTokens */
  tokens: readonly number[];
  /** M, 1 to 1,024: one for all levels, or one for each. */
  beamWidth: number | readonly number[];
  /** Which tokens share the probability; by default the whole vocabulary. */
  normalize?: Normalization;
  /** Logits are divided by it: finite, and above 0 as a float32; by default 1. */
  temperature?: number;
}

/** An input that fits, with its defaults. */
export interface AskedDecode {
  constraint: Constraint;
  tokens: readonly number[];
  /** [levels] */
  beamWidths: readonly number[];
  normalize: Normalization;
  temperature: number;
}

/**
 * @param index of the input among those of its call, for messages
 * @throws EspalierError ESP_SHAPE
 */
export function checkDecodeInput(input: DecodeInput, index: number, model: Model): AskedDecode {
  const { trie, set, exclusions, tokens, normalize = 'vocabulary', temperature = 1 } = input;
  const at = `input ${index}`;
  const beamWidths = beamWidthsOf(input, model);
  const constraint = { trie, live: set?.live ?? null, dead: exclusions?.dead ?? null };
  const fault = constraintFault(constraint);
  if (fault !== undefined) refuse(`${at}: ${fault.field}`, fault.expected, fault.found);
  checkTokens(tokens, at, model.vocabSize);
  if (!normalizations.includes(normalize)) {
    refuse(`${at}: normalize`, `one of ${normalizations.join(', ')}`, String(normalize));
  }
  const scale = Math.fround(temperature);
  if (!(scale > 0 && scale < Number.POSITIVE_INFINITY)) {
    refuse(`${at}: temperature`, 'a finite number above 0, as a float32', String(temperature));
  }
  return { constraint, tokens, beamWidths, normalize, temperature };
}

function checkTokens(tokens: readonly number[], at: string, vocabSize: number): void {
  if (tokens.length === 0) refuse(`${at}: tokens`, 'one or more', 'none');
  for (let position = 0; position < tokens.length; position++) {
    const token = tokens[position];
    if (Number.isInteger(token) && token >= 0 && token < vocabSize) continue;
    refuse(`${at}: tokens[${position}]`, `an integer from 0 to ${vocabSize - 1}`, String(token));
  }
}

function beamWidthsOf({ trie, beamWidth }: DecodeInput, model: Model): readonly number[] {
  const { codebookSizes } = model.manifest.sid;
  if (String(trie.codebookSizes) !== String(codebookSizes)) {
    const found = `[${trie.codebookSizes.join(', ')}]`;
    throw new EspalierError(
      'ESP_SHAPE',
      `the trie's codebooks must be the model's, [${codebookSizes.join(', ')}], found ${found}`,
    );
  }
  const levels = codebookSizes.length;
  const widths = typeof beamWidth === 'number' ? new Array<number>(levels).fill(beamWidth) : beamWidth;
  const isWidth = (width: number) => Number.isInteger(width) && width >= 1 && width <= MAX_BEAM_WIDTH;
  if (widths.length === levels && widths.every(isWidth)) return widths;
  const expected = `an integer from 1 to ${MAX_BEAM_WIDTH}, for each of ${levels} levels`;
  throw new EspalierError('ESP_SHAPE', `beamWidth must be ${expected}, found [${widths.join(', ')}]`);
}

function refuse(field: string, expected: string, found: string): never {
  throw fieldError('ESP_SHAPE', field, expected, found);
}

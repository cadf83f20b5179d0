import type { ErrorDetail } from '../../errors.js';

/** What an upload or a call is told. */
export const MAX_FAULTS = 100;
/** Of them, of one row. Its sender decides how many there are: a line may have tens of thousands of unknown names. */
const MAX_OF_ROW = 10;
const MAX_TEXT_LENGTH = 200;

/**
 * What is wrong with a row, or with many: the first faults with their texts cut to 200 UTF-16 code units, the others
 * only counted. So an error has a bounded size, whatever came.
 */
export class Faults {
  readonly #told: ErrorDetail[] = [];
  readonly #maxTold: number;
  #count = 0;

  constructor(maxTold = MAX_OF_ROW) {
    this.#maxTold = maxTold;
  }

  static of(...faults: readonly ErrorDetail[]): Faults {
    const all = new Faults();
    for (const fault of faults) all.add(fault);
    return all;
  }

  /** All of them, told or not. */
  get count(): number {
    return this.#count;
  }

  /** The first ones. */
  get told(): readonly ErrorDetail[] {
    return this.#told;
  }

  get isFull(): boolean {
    return this.#told.length === this.#maxTold;
  }

  /** The end of a message about them: how many are not told; empty where all are. */
  get untold(): string {
    const count = this.#count - this.#told.length;
    return count === 0 ? '' : `; ${count} more ${count === 1 ? 'fault' : 'faults'} not listed`;
  }

  add(fault: ErrorDetail): void {
    this.#count++;
    if (!this.isFull) this.#told.push(shortened(fault));
  }

  /** Takes those of a part, each as `placed` gives it. */
  addAll(part: Faults, placed: (fault: ErrorDetail) => ErrorDetail): void {
    for (const fault of part.#told) this.add(placed(fault));
    this.#count += part.#count - part.#told.length;
  }
}

function shortened(fault: ErrorDetail): ErrorDetail {
  const { file, field, expected, found } = fault;
  return {
    ...fault,
    ...(file !== undefined && { file: cut(file) }),
    ...(field !== undefined && { field: cut(field) }),
    expected: cut(expected),
    found: cut(found),
  };
}

/** Never ends in half a character, which not every encoding of an answer could carry. */
function cut(text: string): string {
  if (text.length <= MAX_TEXT_LENGTH) return text;
  return `${text.slice(0, MAX_TEXT_LENGTH - 1).toWellFormed()}…`;
}

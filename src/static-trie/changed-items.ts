import { Map as PersistentMap } from 'immutable';
import { describe, EspalierError } from '../errors.js';
import { isBitSet } from '../kernels/index.js';
import { buildColumn } from './column-builder.js';
import type { AttributeSchema, AttributeValue, ColumnTable } from './columns.js';
import { type CompiledRule, evaluateRule } from './rules/index.js';

/** New values of one item's attributes; null is missing from now on. */
export interface ItemUpdate {
  id: string;
  attributes: Readonly<Record<string, AttributeValue | null>>;
}

/** All values of one item, in the order of the schema's names. */
export type ItemValues = (AttributeValue | undefined)[];

/**
 * An item's values after an update.
 * @param values not changed
 * @throws EspalierError ESP_ATTRIBUTE_NOT_FOUND on a name that is not in the schema
 */
export function setValues(
  values: Readonly<ItemValues>,
  update: ItemUpdate['attributes'],
  schema: AttributeSchema,
): ItemValues {
  const names = Object.keys(schema);
  const updated = [...values];
  for (const [name, value] of Object.entries(update)) {
    const index = names.indexOf(name);
    if (index < 0) {
      const details = [{ field: name, expected: `one of ${names.join(', ')}`, found: name }];
      const message = `the catalog has no attribute ${describe(name)}`;
      throw new EspalierError('ESP_ATTRIBUTE_NOT_FOUND', message, { details });
    }
    // A log, being JSON, keeps no −0: nobody is to see one before it was written and none after.
    updated[index] = typeof value === 'number' ? value + 0 : (value ?? undefined);
  }
  return updated;
}

/** Items whose attributes differ from the version's, with all their values as they are now; immutable. */
export class ChangedItems {
  readonly #schema: AttributeSchema;
  /** Shares all but a few nodes with the one that it follows, so that a change costs the same after many as after one. */
  readonly #values: PersistentMap<number, Readonly<ItemValues>>;
  #table: ColumnTable | undefined;

  /** @param values by item number */
  constructor(schema: AttributeSchema, values: Iterable<[number, Readonly<ItemValues>]> = []) {
    this.#schema = schema;
    this.#values = PersistentMap(values);
  }

  get count(): number {
    return this.#values.size;
  }

  /** undefined where the item is as the version has it. */
  valuesOf(item: number): Readonly<ItemValues> | undefined {
    return this.#values.get(item);
  }

  /** Values of `others` replace those of the same item here. */
  with(others: ChangedItems): ChangedItems {
    if (others.count === 0) return this;
    if (this.count === 0) return others;
    return new ChangedItems(this.#schema, this.#values.merge(others.#values));
  }

  /** For which of the items a rule is true. */
  verdictsOf(rule: CompiledRule, nowMs: number): Map<number, boolean> {
    this.#table ??= this.#buildTable();
    const bits = evaluateRule(rule, this.#table, nowMs);
    const verdicts = new Map<number, boolean>();
    for (const item of this.#values.keys()) verdicts.set(item, isBitSet(bits, verdicts.size));
    return verdicts;
  }

  #buildTable(): ColumnTable {
    const rows = [...this.#values.values()];
    const columns = Object.entries(this.#schema).map(([name, { type }], index) => {
      const column = buildColumn(
        type,
        rows.map((values) => values[index]),
      );
      return [name, column] as const;
    });
    return { itemCount: rows.length, columns: new Map(columns) };
  }
}

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { EspalierError } from '../../errors.js';
import { type ChangeRequest, checkPrecondition, etagOf } from '../change-request.js';
import { readState, writeState } from '../state-file.js';

/** A second name for a constraint set, which can be moved to another. */
export interface Alias {
  alias: string;
  catalog: string;
  constraintSet: string;
}

export type AliasAction =
  | { set: { alias: string; catalog: string; constraintSet: string } }
  | { delete: { alias: string } };

/**
 * Aliases, in one file: however many a request changes, they change at once. Where the file is damaged nobody knows what
 * a name stands for, unless it is a set's own; what depends on it is refused, and the file stays as it is.
 */
export class Aliases {
  readonly #path: string;
  #aliases: ReadonlyMap<string, Alias> = new Map();
  readonly #damage: EspalierError | undefined;

  /** @param onDamage told where the file cannot be read */
  constructor(dataDir: string, onDamage: (error: EspalierError) => void) {
    this.#path = join(dataDir, 'aliases.json');
    try {
      const aliases = existsSync(this.#path) ? readAliases(this.#path) : [];
      this.#aliases = new Map(aliases.map((one) => [one.alias, one]));
    } catch (thrown) {
      this.#damage = EspalierError.from(thrown);
      onDamage(this.#damage);
    }
  }

  /** @throws EspalierError ESP_ARTIFACT_CORRUPT, as everything that would have to know all aliases */
  check(): void {
    if (this.#damage !== undefined) throw this.#damage;
  }

  list(): Alias[] {
    this.check();
    return [...this.#aliases.values()].sort((a, b) => (a.alias < b.alias ? -1 : 1));
  }

  get etag(): string {
    return etagOf(this.list());
  }

  /** The set that a name stands for in a catalog: the alias', or the name itself, which may be no set. */
  resolve(catalog: string, name: string): string {
    const alias = this.#aliases.get(name);
    return alias?.catalog === catalog ? alias.constraintSet : name;
  }

  /** Aliases of a set, or of any set of a catalog. */
  namesOf(catalog: string, set?: string): string[] {
    return this.list()
      .filter((one) => one.catalog === catalog && (set === undefined || one.constraintSet === set))
      .map(({ alias }) => alias);
  }

  /** Whether a set must not be called so. */
  has(catalog: string, alias: string): boolean {
    this.check();
    return this.#aliases.get(alias)?.catalog === catalog;
  }

  /**
   * Applies all actions, in their order, or none; durable when it returns.
   * @param checkTarget throws where an alias may not point to a set, or may not have its name
   * @throws EspalierError ESP_ALIAS_NOT_FOUND, ESP_PRECONDITION_FAILED, and what `checkTarget` throws
   */
  apply(actions: readonly AliasAction[], change: ChangeRequest, checkTarget: (alias: Alias) => void): void {
    checkPrecondition(change, this.etag);
    const next = new Map(this.#aliases);
    actions.forEach((action, index) => {
      if ('set' in action) {
        checkTarget(action.set);
        next.set(action.set.alias, action.set);
      } else if (!next.delete(action.delete.alias)) {
        const { alias } = action.delete;
        throw new EspalierError('ESP_ALIAS_NOT_FOUND', `there is no alias ${alias}`, {
          details: [
            { field: `actions[${index}].delete.alias`, expected: 'the name of an alias', found: alias },
          ],
        });
      }
    });
    writeState(this.#path, { aliases: [...next.values()] });
    this.#aliases = next;
  }
}

function readAliases(path: string): Alias[] {
  return readState<{ aliases: Alias[] }>(path, ({ aliases }) => {
    return Array.isArray(aliases) && aliases.every((one) => typeof one?.alias === 'string');
  }).aliases;
}

/** @throws EspalierError ESP_SET_IN_USE */
export function refuseAliased(aliases: readonly string[], what: string): void {
  if (aliases.length === 0) return;
  const names = aliases.join(', ');
  const message = `${what} cannot be deleted while aliases name it: ${names}`;
  throw new EspalierError('ESP_SET_IN_USE', message, {
    details: aliases.map((alias) => ({ field: 'alias', expected: 'no alias', found: alias })),
  });
}

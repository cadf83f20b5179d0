import {
  type CallOptions,
  type ChangeOptions,
  changeHeaders,
  isUnconditional,
  type UploadOptions,
} from './options.js';
import { segment, type Transport } from './transport.js';
import type {
  AliasActions,
  Aliases,
  ConstraintSet,
  ConstraintSetRule,
  RulePreview,
  RulePreviewRequest,
  StartedBuild,
} from './types.js';
import { upload } from './upload.js';
import type { UploadSource } from './upload-body.js';

/** Constraint sets and their aliases. Every method throws EspalierClientError. */
export class ConstraintSetsClient {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  async list(catalog: string, options?: CallOptions): Promise<ConstraintSet[]> {
    const call = { method: 'GET', path: pathOf(catalog), isIdempotent: true } as const;
    return (await this.#transport.json<{ constraintSets: ConstraintSet[] }>(call, options)).constraintSets;
  }

  /** @param set its name, or an alias */
  get(catalog: string, set: string, options?: CallOptions): Promise<ConstraintSet> {
    return this.#transport.json({ method: 'GET', path: pathOf(catalog, set), isIdempotent: true }, options);
  }

  /** Evaluates a rule as the next version, which is in force when this returns. */
  put(
    catalog: string,
    set: string,
    rule: ConstraintSetRule,
    options: ChangeOptions = {},
  ): Promise<ConstraintSet> {
    const call = {
      method: 'PUT',
      path: pathOf(catalog, set),
      json: rule,
      headers: changeHeaders(options),
      isIdempotent: isUnconditional(options),
    } as const;
    return this.#transport.json(call, options);
  }

  async delete(catalog: string, set: string, options: ChangeOptions = {}): Promise<void> {
    const headers = changeHeaders(options);
    const call = { method: 'DELETE', path: pathOf(catalog, set), headers, isIdempotent: false } as const;
    await this.#transport.json(call, options);
  }

  /** Uploads a list of ids or SIDs (`{ id }` or a list of codes each) as the next version. */
  upload(
    catalog: string,
    set: string,
    list: UploadSource,
    options: UploadOptions = {},
  ): Promise<StartedBuild> {
    return upload(this.#transport, `${pathOf(catalog, set)}/versions`, list, options);
  }

  activate(
    catalog: string,
    set: string,
    version: number,
    options: ChangeOptions = {},
  ): Promise<ConstraintSet> {
    const call = {
      method: 'POST',
      path: `${pathOf(catalog, set)}/activate`,
      json: { version },
      headers: changeHeaders(options),
      isIdempotent: isUnconditional(options),
    } as const;
    return this.#transport.json(call, options);
  }

  rollback(
    catalog: string,
    set: string,
    version?: number,
    options: ChangeOptions = {},
  ): Promise<ConstraintSet> {
    const call = {
      method: 'POST',
      path: `${pathOf(catalog, set)}/rollback`,
      json: { version },
      headers: changeHeaders(options),
      isIdempotent: false,
    } as const;
    return this.#transport.json(call, options);
  }

  /** What a rule would allow, without changing anything. */
  preview(catalog: string, rule: RulePreviewRequest, options?: CallOptions): Promise<RulePreview> {
    const path = `${pathOf(catalog)}/preview`;
    return this.#transport.json({ method: 'POST', path, json: rule, isIdempotent: true }, options);
  }

  async aliases(options?: CallOptions): Promise<Aliases> {
    const call = { method: 'GET', path: '/v1/aliases', isIdempotent: true } as const;
    return (await this.#transport.json<{ aliases: Aliases }>(call, options)).aliases;
  }

  /** All of the actions, or none. */
  async changeAliases(actions: AliasActions, options: ChangeOptions = {}): Promise<Aliases> {
    const call = {
      method: 'POST',
      path: '/v1/aliases',
      json: { actions },
      headers: changeHeaders(options),
      // An alias that is gone cannot be deleted again.
      isIdempotent: isUnconditional(options) && actions.every((action) => 'set' in action),
    } as const;
    return (await this.#transport.json<{ aliases: Aliases }>(call, options)).aliases;
  }
}

function pathOf(catalog: string, set?: string): string {
  const path = `/v1/catalogs/${segment(catalog)}/constraint-sets`;
  return set === undefined ? path : `${path}/${segment(set)}`;
}

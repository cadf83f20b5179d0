import {
  type CallOptions,
  type ChangeOptions,
  changeHeaders,
  isUnconditional,
  type UploadOptions,
} from './options.js';
import { segment, type Transport } from './transport.js';
import type {
  Catalog,
  CatalogDefinition,
  CatalogOverview,
  CatalogVersion,
  Item,
  ItemChanges,
  ItemChangesAnswer,
  StartedBuild,
} from './types.js';
import { upload } from './upload.js';
import type { UploadSource } from './upload-body.js';

/** Catalogs, their versions and their items. Every method throws EspalierClientError. */
export class CatalogsClient {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  async list(options?: CallOptions): Promise<CatalogOverview[]> {
    const call = { method: 'GET', path: '/v1/catalogs', isIdempotent: true } as const;
    return (await this.#transport.json<{ catalogs: CatalogOverview[] }>(call, options)).catalogs;
  }

  get(catalog: string, options?: CallOptions): Promise<Catalog> {
    return this.#transport.json({ method: 'GET', path: pathOf(catalog), isIdempotent: true }, options);
  }

  /** Creates a catalog, or gives it another model. */
  put(catalog: string, definition: CatalogDefinition, options: ChangeOptions = {}): Promise<Catalog> {
    const call = {
      method: 'PUT',
      path: pathOf(catalog),
      json: definition,
      headers: changeHeaders(options),
      isIdempotent: isUnconditional(options),
    } as const;
    return this.#transport.json(call, options);
  }

  /** Deletes a catalog with its versions and constraint sets. */
  async delete(catalog: string, options: ChangeOptions = {}): Promise<void> {
    const headers = changeHeaders(options);
    // Tried again it would be a 404, although it did what was asked.
    await this.#transport.json(
      { method: 'DELETE', path: pathOf(catalog), headers, isIdempotent: false },
      options,
    );
  }

  async versions(catalog: string, options?: CallOptions): Promise<CatalogVersion[]> {
    const call = { method: 'GET', path: `${pathOf(catalog)}/versions`, isIdempotent: true } as const;
    return (await this.#transport.json<{ versions: CatalogVersion[] }>(call, options)).versions;
  }

  /** Uploads items, of which the server builds a new version. The job says when it is there: `jobs.wait`. */
  upload(catalog: string, items: UploadSource, options: UploadOptions = {}): Promise<StartedBuild> {
    return upload(this.#transport, `${pathOf(catalog)}/versions`, items, options);
  }

  activate(catalog: string, version: number, options: ChangeOptions = {}): Promise<Catalog> {
    const call = {
      method: 'POST',
      path: `${pathOf(catalog)}/versions/${version}/activate`,
      headers: changeHeaders(options),
      isIdempotent: isUnconditional(options),
    } as const;
    return this.#transport.json(call, options);
  }

  /** Brings back what was active before, or the latest earlier pair of that version. */
  rollback(catalog: string, version?: number, options: ChangeOptions = {}): Promise<Catalog> {
    const call = {
      method: 'POST',
      path: `${pathOf(catalog)}/rollback`,
      json: { version },
      headers: changeHeaders(options),
      isIdempotent: false,
    } as const;
    return this.#transport.json(call, options);
  }

  /** One item of the active version, and what every set says of it. */
  item(catalog: string, id: string, options?: CallOptions): Promise<Item> {
    const path = `${pathOf(catalog)}/items/${segment(id)}`;
    return this.#transport.json({ method: 'GET', path, isIdempotent: true }, options);
  }

  /** Removes and updates items at once; added ones are there when `job` has ended. */
  changeItems(
    catalog: string,
    changes: ItemChanges,
    options: ChangeOptions = {},
  ): Promise<ItemChangesAnswer> {
    const call = {
      method: 'PATCH',
      path: `${pathOf(catalog)}/items`,
      json: changes,
      headers: changeHeaders(options),
      // Added twice, an item would be there already.
      isIdempotent: isUnconditional(options) && (changes.add ?? []).length === 0,
    } as const;
    return this.#transport.json(call, options);
  }
}

function pathOf(catalog: string): string {
  return `/v1/catalogs/${segment(catalog)}`;
}

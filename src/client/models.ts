import type { CallOptions } from './options.js';
import { segment, type Transport } from './transport.js';
import type { Model, ModelOverview, ModelVersion } from './types.js';

/** Models on the server's disk. Every method throws EspalierClientError. */
export class ModelsClient {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  async list(options?: CallOptions): Promise<ModelOverview[]> {
    const call = { method: 'GET', path: '/v1/models', isIdempotent: true } as const;
    return (await this.#transport.json<{ models: ModelOverview[] }>(call, options)).models;
  }

  get(model: string, options?: CallOptions): Promise<Model> {
    const path = `/v1/models/${segment(model)}`;
    return this.#transport.json({ method: 'GET', path, isIdempotent: true }, options);
  }

  /** Opens and checks a version, by default the newest; nothing that serves changes. */
  load(model: string, version?: number, options?: CallOptions): Promise<ModelVersion> {
    const path = `/v1/models/${segment(model)}/load`;
    return this.#transport.json({ method: 'POST', path, json: { version }, isIdempotent: true }, options);
  }
}

import { type Client, credentials, loadPackageDefinition, type ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { LoadReply, LoadRequest, Timings, Transport } from './transport.js';

const proto = new URL('../../proto', import.meta.url).pathname;

interface GrpcAnswer {
  items: { id: string }[];
  complete: boolean;
  timings: Timings;
}

interface RecommendationClient extends Client {
  recommend(request: object, callback: (error: ServiceError | null, answer: GrpcAnswer) => void): unknown;
}

/** gRPC over h2c as an independent client speaks it: all calls on one connection. */
export class GrpcTransport implements Transport {
  readonly #client: RecommendationClient;

  /** @param address host:port */
  constructor(address: string) {
    const file = 'espalier/v1/recommendation.proto';
    const packages = loadPackageDefinition(loadSync(file, { includeDirs: [proto], defaults: true }));
    // biome-ignore lint/suspicious/noExplicitAny: made of the .proto file when this runs.
    const { RecommendationService } = (packages as any).espalier.v1;
    this.#client = new RecommendationService(address, credentials.createInsecure());
  }

  send({ beamWidth, ...request }: LoadRequest): Promise<LoadReply> {
    return new Promise((resolve) => {
      this.#client.recommend({ ...request, beamWidth: [beamWidth] }, (error, answer) => {
        if (error === null) {
          const { items, complete, timings } = answer;
          resolve({ outcome: 'answer', items, isComplete: complete, timings });
          return;
        }
        // The detail begins with our code, in plain text.
        const detail = error.metadata.get('grpc-status-details-bin').join('');
        const code = /ESP_[A-Z_]+/.exec(detail)?.[0];
        const hasRetryAfter = error.metadata.get('retry-after').length > 0;
        if (code === undefined) resolve({ outcome: 'failure', message: error.message });
        else resolve({ outcome: 'error', code, hasRetryAfter });
      });
    });
  }

  close(): void {
    this.#client.close();
  }
}

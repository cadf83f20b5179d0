import { EspalierError } from '../errors.js';

export function engineFailed(message: string, cause?: EspalierError): EspalierError {
  return new EspalierError('ESP_ENGINE_FAILED', message, { cause });
}

/**
 * Whether an engine could not bring a catalog to serve for what lies on disk: its file, its log of changes, its model.
 * Any other engine would find the same.
 */
export function isFaultOfCatalog({ code }: EspalierError): boolean {
  return code === 'ESP_ARTIFACT_CORRUPT' || code.startsWith('ESP_MODEL_');
}

/** What a call rejects with that an engine's end cut short, told as what has happened; any other error as it is. */
export function asEngineEnd(error: EspalierError): EspalierError {
  const isEnd = error.code === 'ESP_INTERNAL' || error.code === 'ESP_SHUTTING_DOWN';
  // What a runtime says of its inside is for the log.
  return isEnd ? engineFailed('the decode engine ended under this call; try again', error) : error;
}

export { CatalogsClient } from './catalogs.js';
export { EspalierClient } from './client.js';
export { ConstraintSetsClient } from './constraint-sets.js';
export { type ClientErrorCode, EspalierClientError, type PlainErrorLike } from './errors.js';
export { JobsClient, type WaitOptions } from './jobs.js';
export { ModelsClient } from './models.js';
export type { CallOptions, ChangeOptions, ClientOptions, UploadOptions } from './options.js';
export type * from './types.js';
export type { UploadPart, UploadSource, UploadStream } from './upload-body.js';

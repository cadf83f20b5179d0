import { workOnBulk } from '../bulk/bulk-work.js';
import { buildCatalog, readList, rebuildCatalog } from '../catalogs/build-work.js';
import type { WorkFunction } from './work-queue.js';

/**
 * Every kind of job, by its work: what runs in a build process, of the server or of an `espalier worker`. To add a kind:
 * 1. write its work function (see `WorkFunction`) and name it here;
 * 2. give its other part, which runs in the server, to `Jobs.define` (see `JobKind`), before `Jobs.resume`.
 */
export const workKinds = {
  'catalog-build': buildCatalog,
  'catalog-changes': rebuildCatalog,
  'constraint-set-build': readList,
  'bulk-recommendations': workOnBulk,
} satisfies Record<string, WorkFunction>;

export type JobKindName = keyof typeof workKinds;

/** Kinds whose work opens models. */
export const kindsWithModels: readonly JobKindName[] = ['bulk-recommendations'];

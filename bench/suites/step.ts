import type { Suite } from '../harness/types.js';
import { Catalogs } from './step/catalogs.js';
import { planCases } from './step/plan.js';

const catalogs = new Catalogs();

/** The decode step under every idea of how to constrain it. */
export const step: Suite = {
  name: 'step',
  about:
    'One decode step, a mean over all levels: every way to constrain it, around the size that the paper measures.',
  axes: [
    'point',
    'beams',
    'batch',
    'selectivity',
    'sets',
    'exclusions',
    'neighbours',
    'constraints',
    'vocabulary',
    'branching',
    'sid-length',
    'shape',
  ],
  plan: (options) => planCases(catalogs, options),
  close: async () => catalogs.clear(),
};

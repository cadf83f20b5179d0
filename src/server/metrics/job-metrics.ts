import { Histogram, type Registry } from 'prom-client';
import { endStates } from '../jobs/job-store.js';
import { workKinds } from '../jobs/work-kinds.js';
import { JOB_SECONDS } from './buckets.js';

/** Its series are there from the start, as those of `counterOf`: the first job that fails is a rise from 0. */
export function jobDurationOf(registry: Registry): Histogram<'kind' | 'state'> {
  const histogram = new Histogram({
    name: 'espalier_job_duration_seconds',
    help: 'Time that jobs ran, by kind and final state.',
    labelNames: ['kind', 'state'],
    buckets: JOB_SECONDS,
    registers: [registry],
  });
  for (const kind of Object.keys(workKinds)) {
    for (const state of endStates) histogram.zero({ kind, state });
  }
  return histogram;
}

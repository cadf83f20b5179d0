import { Type } from 'typebox';
import { closed, ErrorBody } from './common.js';

export const UploadHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      description:
        'A retried upload with the same key is the same job. 1 to 255 visible ASCII characters, such as a UUID.',
    }),
  ),
});

const JobState = Type.Enum(['queued', 'running', 'succeeded', 'failed', 'cancelled']);
export const JobResource = Type.Object({
  id: Type.String(),
  kind: Type.String(),
  state: JobState,
  phase: Type.String(),
  fraction: Type.Number(),
  createdAt: Type.String(),
  catalog: Type.Optional(Type.String()),
  version: Type.Optional(Type.Integer()),
  error: Type.Optional(ErrorBody),
  result: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
});
export const JobAnswer = Type.Object({ job: JobResource });
export const JobsQuery = Type.Object(
  {
    state: Type.Optional(JobState),
    limit: Type.Optional(Type.String({ pattern: '^[1-9][0-9]{0,3}$', default: '100' })),
  },
  closed,
);
export const JobsAnswer = Type.Object({ jobs: Type.Array(JobResource) });
export const BuildAnswer = Type.Object({ job: JobResource, version: Type.Optional(Type.Integer()) });

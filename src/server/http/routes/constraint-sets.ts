import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { type Static, Type } from 'typebox';
import { fieldError } from '../../../errors.js';
import { activeVersionOf, type RefreshPolicy, type SetVersion } from '../../constraint-sets/set-record.js';
import { type EvaluatedSet, setEtag } from '../../constraint-sets/set-service.js';
import type { AppDeps } from '../app-deps.js';
import { changeOf } from '../change-headers.js';
import { publicError } from '../errors.js';
import { ofCatalogs, ofChanges, ofRules, ofThreads } from '../route-errors.js';
import { CatalogPath, PreviewBody, SetPath, VersionBody, VersionChoice } from '../schemas/common.js';
import { PreviewAnswer, RuleBody, SetResource, SetsAnswer } from '../schemas/constraint-sets.js';
import { bodyIsOptional } from './optional-body.js';
import type { ReplyHeaders } from './reply-headers.js';

const DEFAULT_MAX_AGE_REFRESHES = 10;
const ofEvaluations = [...ofChanges, ...ofRules, ...ofThreads] as const;

/** Constraint sets: named rules or lists over a catalog's items, in versions. */
export const constraintSetRoutes: FastifyPluginAsyncTypebox<AppDeps> = async (app, { sets }) => {
  const tags = ['constraint sets'];
  const path = '/v1/catalogs/:catalog/constraint-sets';
  const answer = (reply: ReplyHeaders, record: EvaluatedSet) => {
    reply.header('etag', setEtag(record));
    return resource(record);
  };

  app.get(
    path,
    {
      config: { errors: [...ofCatalogs] },
      schema: {
        tags,
        summary: 'The constraint sets of a catalog',
        params: CatalogPath,
        response: { 200: SetsAnswer },
      },
    },
    ({ params }) => ({
      constraintSets: sets.list(params.catalog).map(resource),
      damaged: Array.from(sets.damaged(params.catalog), ([name, error]) => ({
        name,
        error: publicError(error),
      })),
    }),
  );

  app.get(
    `${path}/:set`,
    {
      config: { errors: [...ofCatalogs, 'ESP_SET_NOT_FOUND'] },
      schema: {
        tags,
        summary: 'One constraint set, by its name or an alias: its versions, and how many items it allows',
        params: SetPath,
        response: { 200: SetResource },
      },
    },
    async ({ params: { catalog, set } }, reply) => {
      return answer(reply, sets.get(catalog, set));
    },
  );

  app.put(
    `${path}/:set`,
    {
      config: { errors: [...ofCatalogs, ...ofEvaluations, 'ESP_ALIAS_CONFLICT'] },
      schema: {
        tags,
        summary: 'Evaluate a rule as the next version; in force when this answers',
        params: SetPath,
        body: RuleBody,
        response: { 200: SetResource, 201: SetResource },
      },
    },
    async (request, reply) => {
      const { catalog, set } = request.params;
      const { rule, params = {} } = request.body;
      const definition = { rule, params, refresh: refreshOf(request.body) };
      const { record, created } = await sets.put(catalog, set, definition, changeOf(request));
      reply.code(created ? 201 : 200);
      return answer(reply, record);
    },
  );

  app.delete(
    `${path}/:set`,
    {
      config: { errors: [...ofCatalogs, ...ofChanges, ...ofThreads, 'ESP_SET_NOT_FOUND', 'ESP_SET_IN_USE'] },
      schema: {
        tags,
        summary: 'Delete a constraint set; requests under it are refused from then on',
        params: SetPath,
        response: { 204: Type.Null() },
      },
    },
    async (request, reply) => {
      const { catalog, set } = request.params;
      await sets.delete(catalog, set, changeOf(request));
      return reply.code(204).send(null);
    },
  );

  app.post(
    `${path}/:set/activate`,
    {
      config: { errors: [...ofCatalogs, ...ofEvaluations, 'ESP_SET_NOT_FOUND', 'ESP_VERSION_NOT_FOUND'] },
      schema: {
        tags,
        summary: 'Put a version of a set in force',
        params: SetPath,
        body: VersionBody,
        response: { 200: SetResource },
      },
    },
    async (request, reply) => {
      const { catalog, set } = request.params;
      return answer(reply, await sets.activate(catalog, set, request.body.version, changeOf(request)));
    },
  );

  app.post(
    `${path}/:set/rollback`,
    {
      config: {
        errors: [
          ...ofCatalogs,
          ...ofEvaluations,
          'ESP_SET_NOT_FOUND',
          'ESP_VERSION_NOT_FOUND',
          'ESP_ROLLBACK_UNAVAILABLE',
        ],
      },
      preValidation: bodyIsOptional,
      schema: {
        tags,
        summary: 'Bring back the version of a set that was in force before',
        params: SetPath,
        body: VersionChoice,
        response: { 200: SetResource },
      },
    },
    async (request, reply) => {
      const { catalog, set } = request.params;
      return answer(reply, await sets.rollback(catalog, set, request.body.version, changeOf(request)));
    },
  );

  app.post(
    `${path}/preview`,
    {
      config: { errors: [...ofCatalogs, ...ofRules, ...ofThreads, 'ESP_CATALOG_INACTIVE'] },
      schema: {
        tags,
        summary: 'What a rule would allow, without changing anything',
        params: CatalogPath,
        body: PreviewBody,
        response: { 200: PreviewAnswer },
      },
    },
    ({ params, body }) => sets.preview(params.catalog, body.rule, body.params ?? {}),
  );
};

/** @throws EspalierError ESP_REQUEST_INVALID on an age without a refresh, or a shorter one. */
function refreshOf({
  refreshSeconds,
  maxAgeSeconds,
  whenStale,
}: Static<typeof RuleBody>): RefreshPolicy | null {
  if (refreshSeconds === undefined) {
    if (maxAgeSeconds === undefined && whenStale === undefined) return null;
    throw fieldError(
      'ESP_REQUEST_INVALID',
      'refreshSeconds',
      'a value, as maxAgeSeconds or whenStale is given',
      'nothing',
    );
  }
  const age = maxAgeSeconds ?? refreshSeconds * DEFAULT_MAX_AGE_REFRESHES;
  if (age < refreshSeconds) {
    throw fieldError(
      'ESP_REQUEST_INVALID',
      'maxAgeSeconds',
      `at least ${refreshSeconds} (refreshSeconds)`,
      String(age),
    );
  }
  return { refreshSeconds, maxAgeSeconds: age, whenStale: whenStale ?? 'refuse' };
}

function resource(record: EvaluatedSet): Static<typeof SetResource> {
  const { name, active, activatedAt, earlier, versions, evaluation, refreshFailure } = record;
  const inForce = activeVersionOf(record);
  return {
    name,
    ...(inForce && versionResource(inForce)),
    version: active,
    updatedAt: activatedAt,
    catalogVersion: evaluation?.catalogVersion ?? null,
    evaluatedAt: evaluation?.evaluatedAt ?? null,
    items: evaluation?.items ?? null,
    leaves: evaluation?.leaves ?? null,
    ...(evaluation !== null &&
      inForce?.truth.kind !== 'rule' && {
        unknownCount: evaluation.unknownCount,
        unknown: [...evaluation.unknown],
      }),
    stale: record.isStale,
    refreshFailure: refreshFailure && { at: refreshFailure.at, error: publicError(refreshFailure.error) },
    warnings: warningsOf(record),
    earlier,
    versions: versions.map(versionResource),
  };
}

function versionResource({ version, truth, refresh, ...rest }: SetVersion) {
  return { version, ...truth, ...refresh, ...rest };
}

function warningsOf({ evaluation, isStale, refreshFailure }: EvaluatedSet): string[] {
  const warnings: string[] = [];
  if (evaluation?.items === 0) warnings.push('the set allows no item');
  if (evaluation !== null && evaluation.unknownCount > 0) {
    warnings.push(`${evaluation.unknownCount} of the list are not in the catalog version`);
  }
  if (refreshFailure !== null) warnings.push('the last refresh failed; the evaluation before it is in force');
  if (isStale) warnings.push('the evaluation is older than maxAgeSeconds');
  return warnings;
}

import { isDeepStrictEqual } from 'node:util';
import { expect } from 'vitest';
import type { ServerProcess } from '../../../examples/online-retail/server-process.js';
import type { Random } from '../random.js';
import { endOf, type Reply, send } from '../server.js';
import { emptyModel, type Model } from './model.js';
import { expectationOf, type Observation, observe, projectionOf } from './observe.js';
import { type Operation, patchItems, putRule, randomOperation, uploadItems } from './operations.js';

/** An operation that was answered with a job, which has not ended. */
interface Accepted {
  operation: Operation;
  jobId: string;
  version: number;
}

/**
 * Changes a server at random, and knows after each answer what the server must have from then on; after a kill, what it
 * may have.
 */
export class KillClient {
  /** Of acknowledged changes, but not of `accepted`. */
  #state: Model = emptyModel();
  /** What the server said of that state; null where it was not asked. */
  #seen: Observation | null = null;
  #sent: Operation | null = null;
  #accepted: Accepted | null = null;
  readonly #jobIds = new Set<string>();
  /** How long operations of a kind take, the last of them. */
  readonly #durationsMs = new Map<string, number>();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  /** What a kill would hit now. */
  get underWay(): string {
    if (this.#sent !== null) return this.#sent.kind;
    return this.#accepted === null ? 'nothing' : `${this.#accepted.operation.kind} (its job)`;
  }

  get #isActive(): boolean {
    return this.#state.catalog.active !== null;
  }

  /** Gives the catalog its first version. */
  async begin(server: ServerProcess): Promise<void> {
    const attributes = { price: { type: 'double' }, colour: { type: 'string' } };
    const definition = { model: 'table', sid: { codebookSizes: [2, 3] }, attributes };
    expect((await send(server, 'PUT', '/v1/catalogs/small', definition)).status).toBe(201);
    await this.#run(server, uploadItems(this.#random, this.#state, true));
    await this.#look(server);
  }

  /** One change, and what the server says afterwards. @param onSent gets how long it may take */
  async change(server: ServerProcess, onSent: (durationMs: number) => void = () => {}): Promise<void> {
    const operation = randomOperation(this.#random, this.#state);
    onSent(this.#durationsMs.get(operation.kind) ?? 20);
    const beganMs = performance.now();
    await this.#run(server, operation);
    this.#durationsMs.set(operation.kind, performance.now() - beganMs);
    await this.#look(server);
  }

  /** Puts a set that refreshes itself every second from then on. */
  async refresh(server: ServerProcess): Promise<void> {
    await this.#run(server, putRule(this.#random, 1));
  }

  /** After a restart: waits for the jobs, and demands one of the states that the kill may have left. */
  async recover(server: ServerProcess): Promise<void> {
    expect((await send(server, 'GET', '/readyz')).status).toBe(200);
    const { jobs } = (await send(server, 'GET', '/v1/jobs?limit=1000')).body;
    const ended = new Map<string, Reply['body']>();
    for (const { id } of jobs) ended.set(id, await endOf(server, id));
    for (const id of this.#jobIds) expect(ended.has(id), `job ${id} is there`).toBe(true);
    const fresh = [...ended.values()].filter(({ id }) => !this.#jobIds.has(id));
    const observation = await observe(server);
    const [found, ...equal] = this.#match(observation, ended, fresh);
    // Where the change would have come to the same (but for its times), nobody knows whether it has happened.
    if (found === this.#state && equal.length === 0 && this.#seen !== null) {
      expect(comparable(observation, this.#sent)).toEqual(comparable(this.#seen, this.#sent));
    }
    for (const { id } of fresh) this.#jobIds.add(id);
    this.#state = found;
    this.#seen = observation;
    const again = equal.length > 0 && this.#sent?.kind === 'patch' ? this.#sent : null;
    this.#sent = null;
    this.#accepted = null;
    // It may be in the log and not be seen now; another version would show it. Twice it is the same as once.
    if (again !== null) await this.#send(server, again);
  }

  async #run(server: ServerProcess, operation: Operation): Promise<void> {
    const accepted = await this.#send(server, operation);
    if (accepted === null) return;
    if (this.#isActive && operation.takesPatches && this.#random.chance(0.5)) {
      await this.#send(server, patchItems(this.#random));
    }
    const job = await endOf(server, accepted.jobId);
    expect(job, JSON.stringify(job)).toMatchObject({ state: 'succeeded' });
    this.#state = operation.finished!(this.#state, accepted.version)[0];
    this.#accepted = null;
  }

  async #send(server: ServerProcess, operation: Operation): Promise<Accepted | null> {
    const { method, path, body, contentType } = operation;
    this.#sent = operation;
    const reply = await send(server, method, path, body, contentType);
    this.#sent = null;
    expect([200, 201, 202, 204], `${method} ${path}: ${JSON.stringify(reply.body)}`).toContain(reply.status);
    const version = reply.body?.version;
    this.#seen = null;
    this.#state = operation.applied(this.#state, version)[0];
    if (operation.finished === undefined) return null;
    this.#accepted = { operation, version, jobId: reply.body.job.id };
    this.#jobIds.add(reply.body.job.id);
    return this.#accepted;
  }

  async #look(server: ServerProcess): Promise<void> {
    const observation = await observe(server);
    expect(plain(projectionOf(observation))).toEqual(plain(expectationOf(this.#state)));
    this.#seen = observation;
  }

  /** Those of the allowed states that the observation fits. */
  #match(
    observation: Observation,
    ended: ReadonlyMap<string, Reply['body']>,
    fresh: readonly Reply['body'][],
  ): Model[] {
    const states = this.#allowed(observation, ended, fresh);
    const projection = plain(projectionOf(observation));
    const found = states.filter((state) => isDeepStrictEqual(projection, plain(expectationOf(state))));
    if (found.length > 0) return found;
    const [first, ...others] = states;
    const note = `the first of ${others.length + 1} states that ${this.underWay} may leave`;
    expect(projection, note).toEqual(plain(expectationOf(first)));
    throw new Error('a state equals the first one for one comparison, and not for the other');
  }

  #allowed(
    observation: Observation,
    ended: ReadonlyMap<string, Reply['body']>,
    fresh: readonly Reply['body'][],
  ): Model[] {
    const { operation, jobId, version } = this.#accepted ?? {};
    let states = this.#sent === null ? [this.#state] : this.#afterSent(this.#sent, observation, fresh);
    if (operation === undefined) return states;
    const job = ended.get(jobId!);
    expect(job.state, JSON.stringify(job)).toBe('succeeded');
    states = states.flatMap((state) => operation.finished!(state, version!));
    return states;
  }

  /** What was not answered has happened as a whole, or not at all; where there is a job, it has. */
  #afterSent(operation: Operation, observation: Observation, fresh: readonly Reply['body'][]): Model[] {
    if (operation.finished !== undefined) {
      expect(fresh.length).toBeLessThanOrEqual(1);
      if (fresh.length === 0) return [this.#state];
      const [job] = fresh;
      expect(job.state, JSON.stringify(job)).toBe('succeeded');
      const applied = operation.applied(this.#state, job.version);
      return applied.flatMap((state) => operation.finished!(state, job.version));
    }
    expect(fresh).toEqual([]);
    const sets = Object.values(observation.sets);
    const numbers = new Set<number>(sets.flatMap(({ versions }) => versions.map(versionOf)));
    return [this.#state, ...[...numbers, 0].flatMap((number) => operation.applied(this.#state, number))];
  }
}

const versionOf = ({ version }: { version: number }) => version;

/** An upload of a list that came to nothing has used up a number, which is part of the set's state. */
function comparable(observation: Observation, sent: Operation | null): unknown {
  if (sent?.kind !== 'upload of a list') return observation;
  const sets = Object.entries(observation.sets).map(([name, { etag: _, ...set }]) => [name, set]);
  return { ...observation, sets };
}

/** As JSON has it: without what is undefined. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

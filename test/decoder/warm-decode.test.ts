import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DecodeEngine } from '../../src/decoder/engine.js';
import { query } from '../helpers/query.js';
import { buildRetailCatalog, modelFolder } from '../helpers/retail.js';

const LARGE_BYTES = 32_768;
const classes = ['ArrayBuffer', 'Float32Array', 'Uint32Array', 'BigInt64Array', 'Uint8Array'] as const;

/** Records what is allocated in JavaScript while `run` is: by the constructors, and by copying a typed array. */
async function largeAllocations(run: () => Promise<void>): Promise<string[]> {
  const found: string[] = [];
  const note = (name: string, made: { byteLength: number }) => {
    if (made.byteLength >= LARGE_BYTES) found.push(`${name} of ${made.byteLength} bytes`);
  };
  const originals = classes.map((name) => globalThis[name]);
  const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
  const { slice } = typedArray;
  for (const name of classes) {
    // biome-ignore lint/suspicious/noExplicitAny: the constructors have signatures of their own.
    (globalThis as any)[name] = new Proxy(globalThis[name] as any, {
      construct(target, args, newTarget) {
        const made = Reflect.construct(target, args, newTarget);
        // A view on memory that is there allocates nothing.
        if (typeof args[0] === 'number' || Array.isArray(args[0])) note(name, made);
        return made;
      },
    });
  }
  typedArray.slice = function (this: Uint8Array, ...args: number[]) {
    const made = slice.apply(this, args);
    note('slice', made);
    return made;
  };
  try {
    await run();
  } finally {
    typedArray.slice = slice;
    classes.forEach((name, index) => {
      // biome-ignore lint/suspicious/noExplicitAny: as above.
      (globalThis as any)[name] = originals[index];
    });
  }
  return found;
}

describe.each(['retail', 'retail-shared-context'])('a warm decode of model %s', (model) => {
  const engine = new DecodeEngine({ threads: 1, stepThreads: 1, prefillCacheBytes: 1 << 24 });
  beforeAll(async () => {
    const { path } = await buildRetailCatalog();
    const folder = modelFolder(model);
    await engine.prepareCatalog({
      catalog: 'retail',
      version: 1,
      path,
      model: { name: model, version: 1, folder },
      sets: [],
      changes: null,
    });
    engine.commitCatalog('retail');
  });
  afterAll(() => engine.close());

  const batch = ['85123A', '22423', '85099B'].map((id, index) =>
    query({
      requestId: `r${index}`,
      history: [id, '20725'],
      excludeHistory: index === 1,
      constraint: index === 2 ? { filter: 'price < 3.0' } : {},
    }),
  );
  const decode = async () => {
    const { results } = await engine.recommendBatch(batch);
    expect(results.every((result) => 'answer' in result)).toBe(true);
  };

  it('allocates no large array', async () => {
    const cold = await largeAllocations(decode);
    expect(cold.length, 'a cold decode makes its buffers').toBeGreaterThan(0);
    await decode();
    expect(await largeAllocations(decode)).toEqual([]);
  });

  it('leaves nothing of what the runtime allocates to the garbage collector', async () => {
    await decode();
    const before = process.memoryUsage().arrayBuffers;
    await decode();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(LARGE_BYTES);
  });
});

import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { DecodeEngine, EngineEvent } from '../../src/decoder/engine.js';
import type { RecommendQuery } from '../../src/decoder/index.js';
import { compareSteps } from '../../src/kernels/cuda/compare-steps.js';
import { CudaSteps } from '../../src/kernels/cuda/cuda-steps.js';
import {
  type Constraint,
  type CudaFinding,
  chooseHostKernel,
  chooseKernel,
  cudaOff,
  type DeviceReport,
  type Kernel,
  lookForCuda,
  StepBatch,
  type TrieArrays,
  usableLevels,
} from '../../src/kernels/index.js';
import { type Addon, callNative, loadAddon } from '../../src/kernels/native/addon.js';
import { handleOf } from '../../src/kernels/native/trie-handle.js';
import { buildStaticTrie, type CatalogVersion, constraintSetFromItems } from '../../src/static-trie/index.js';
import { answerDifference, goldenQueries, retailEngine } from '../helpers/compare-decodes.js';
import { compareRandomSteps } from '../helpers/compare-steps.js';
import { compileLibrary, emulatedCuda, noEmulatedCuda, realCudaLibrary, textFile } from '../helpers/cuda.js';
import { named } from '../helpers/named.js';
import { noNative } from '../helpers/native.js';
import { query } from '../helpers/query.js';
import { Random } from '../helpers/random.js';
import { buildRetailCatalog } from '../helpers/retail.js';
import { seeded } from '../helpers/seed.js';
import { makeDataDir, send, startTestServer } from '../helpers/server.js';
import { idsUnder, makeSmallCatalog } from '../helpers/small-server.js';
import { missingTools } from '../native/tools.js';

const noCompiler = noNative ?? missingTools('g++');
const noEmulation = noEmulatedCuda();
const noDevice = realCudaLibrary === undefined ? noEmulation : undefined;
const bestNative = usableLevels().at(-1)?.name;
const THIS_ABI = 'extern "C" unsigned esp_cuda_abi() { return 2; }';

// What a test asks of its own device is not for the next one's.
afterEach(() => {
  delete process.env.EMULATED_CUDA;
});

function report(kernel: Kernel): DeviceReport {
  return kernel.device!.report();
}

/** Leaves: 00 01 12 20 21 22. */
const { trie, leafItems } = buildStaticTrie({
  codebookSizes: [3, 3],
  rowCount: 6,
  codes: Uint16Array.of(0, 0, 0, 1, 1, 2, 2, 0, 2, 1, 2, 2),
});

/** The codes that the first step over that trie keeps. */
function firstCodes(
  kernel: Pick<Kernel, 'step'>,
  constraint: Constraint = { trie, live: null, dead: null },
  batch = new StepBatch(1, 3),
): number[] {
  batch.begin([{ constraint, beamWidth: 3, normalize: 'vocabulary', temperature: 1 }]);
  kernel.step(batch, { depth: 0, logits: Float32Array.of(1, 2, 4), vocabSize: 3, tokens: { offset: 0 } });
  return Array.from(batch.codes.subarray(0, batch.counts[0]));
}

/** The addon, which counts the tries that it has brought to the device and nobody has disposed of. */
function countingHandles(): { addon: Addon; held: () => number; uploads: () => number } {
  const { addon } = loadAddon() as { addon: Addon };
  const held = new Set<unknown>();
  let uploads = 0;
  const hold = <Handle>(handle: Handle) => {
    uploads++;
    held.add(handle);
    return handle;
  };
  const counting: Addon = {
    ...addon,
    cudaUploadTrie: async (...arguments_) => hold(await addon.cudaUploadTrie(...arguments_)),
    cudaUploadTrieNow: (...arguments_) => hold(addon.cudaUploadTrieNow(...arguments_)),
    cudaDispose: (handle) => {
      held.delete(handle);
      addon.cudaDispose(handle);
    },
  };
  return { addon: counting, held: () => held.size, uploads: () => uploads };
}

function forced(library: string): Kernel & { finding: CudaFinding } {
  const finding = lookForCuda(library);
  return { ...chooseKernel('cuda', 1, finding), finding } as Kernel & { finding: CudaFinding };
}

describe.skipIf(noNative)(named('a machine without a usable GPU', noNative), () => {
  /** What is found, and that everything runs all the same. */
  function expectUnusable(finding: CudaFinding, state: CudaFinding['state'], message: string | RegExp): void {
    expect(finding).toMatchObject({ state, message: expect.stringMatching(message) });
    expect(finding.message).not.toContain('\n');
    expect(finding.message).not.toContain('/tmp');
    expect(() => chooseKernel('cuda', 1, finding)).toThrow(
      expect.objectContaining({
        code: 'ESP_KERNEL_UNKNOWN',
        message: `ESPALIER_KERNELS is cuda, but ${finding.message}`,
      }),
    );
    const kernel = chooseKernel('auto', 1, finding);
    expect([kernel.stepName, kernel.device]).toEqual([bestNative, undefined]);
    expect(firstCodes(kernel)).toEqual([2, 1, 0]);
  }

  it('has no library, and says so in one line', () => {
    vi.stubEnv('ESPALIER_CUDA_LIBRARY', '');
    expectUnusable(
      lookForCuda('/nowhere/libespalier_cuda.so'),
      'absent',
      /^there is no CUDA library; `npm run/,
    );
    vi.stubEnv('ESPALIER_CUDA_LIBRARY', '/nowhere/libespalier_cuda.so');
    expectUnusable(lookForCuda(), 'unusable', 'ESPALIER_CUDA_LIBRARY names a file that is not there');
    vi.unstubAllEnvs();
  });

  it('has a file that is no library', () => {
    expectUnusable(lookForCuda(textFile()), 'unusable', /^text\.so: /);
  });

  it.skipIf(noCompiler)(named('has another library, or one of another ABI', noCompiler), () => {
    const other = compileLibrary('other', 'extern "C" int something() { return 1; }');
    expectUnusable(lookForCuda(other), 'unusable', 'no Espalier CUDA library: it has no esp_cuda_abi');
    const newer = compileLibrary('newer', 'extern "C" unsigned esp_cuda_abi() { return 77; }');
    expectUnusable(lookForCuda(newer), 'unusable', 'the library has ABI 77, the addon needs ABI 2;');
    const part = compileLibrary('part', THIS_ABI);
    expectUnusable(lookForCuda(part), 'unusable', 'it has no esp_last_error');
  });

  it.skipIf(noCompiler)(
    named('has a driver that crashes, hangs, leaves or babbles, in a process of its own', noCompiler),
    () => {
      const doing = (name: string, body: string) =>
        compileLibrary(
          name,
          `#include <cstdio>\n#include <cstdlib>\n#include <unistd.h>\n` +
            `__attribute__((constructor)) void loaded() { ${body} }\n${THIS_ABI}`,
        );
      expectUnusable(
        lookForCuda(doing('crash', 'abort();')),
        'unusable',
        'the probe of the GPU died with SIGABRT',
      );
      const hanging = doing('hang', 'for (;;) pause();');
      expectUnusable(
        lookForCuda(hanging, 500),
        'unusable',
        'the probe of the GPU did not answer within 0.5 s',
      );
      expectUnusable(lookForCuda(doing('leave', '_exit(3);')), 'unusable', 'ended with code 3');
      const babbling = doing('babble', 'puts("{\\"reason\\": 5}"); fflush(stdout); _exit(0);');
      expectUnusable(lookForCuda(babbling), 'unusable', 'the probe of the GPU gave no answer');
    },
  );

  it.skipIf(noEmulation)(
    named('has no driver, an old one, no device, or one of another architecture', noEmulation),
    () => {
      const found = (settings: string) => lookForCuda(emulatedCuda(settings));
      expectUnusable(found('driver=0'), 'unusable', 'there is no CUDA driver');
      expectUnusable(found('driver=11040'), 'unusable', 'the driver is of CUDA 11.4');
      expectUnusable(found('devices=0'), 'unusable', 'no device');
      expectUnusable(found('compute=75'), 'unusable', 'compute capability 7.5');
    },
  );

  it.skipIf(noCompiler)(
    named('serves, and its health, metrics and log say why not on a GPU', noCompiler),
    async () => {
      const crash = `__attribute__((constructor)) void loaded() { __builtin_trap(); }\n${THIS_ABI}`;
      vi.stubEnv('ESPALIER_CUDA_LIBRARY', compileLibrary('trap', crash));
      const server = await startTestServer(makeDataDir());
      vi.unstubAllEnvs();
      await makeSmallCatalog(server);
      expect(await idsUnder(server, { filter: 'colour == "red"' })).toEqual(['0-0', '1-0']);
      expect((await send(server, 'GET', '/healthz')).body).toMatchObject({
        step: bestNative,
        cuda: {
          state: 'unusable',
          message: expect.stringMatching(/^the probe of the GPU died with SIG(ILL|TRAP)$/),
        },
      });
      const metrics = await (await fetch(`${server.url}/metrics`)).text();
      expect(metrics).toContain('espalier_cuda_info{state="unusable",device=""} 1');
      await server.stop();
    },
  );
});

describe.skipIf(noDevice)(named('steps on a GPU', noDevice), () => {
  let library: string;
  beforeAll(() => {
    library = realCudaLibrary ?? emulatedCuda();
  });

  it('are those of the js kernel, over random tries, sets and exclusions', () => {
    const kernel = forced(library);
    expect(kernel.finding).toMatchObject({ state: 'usable', abi: 2 });
    fc.assert(
      fc.property(fc.integer(), (caseSeed) => {
        compareRandomSteps(new Random(caseSeed), kernel.step, 1 << 13);
      }),
      seeded('CUDA step', 10),
    );
    expect(report(kernel)).toMatchObject({ state: 'ready', stepName: 'cuda', isProblem: false });
    kernel.device!.close();
  });

  it('free what lies on the device, and bring it back when it is asked for', async () => {
    const kernel = forced(library);
    const { device } = kernel;
    expect(report(kernel)).toMatchObject({ state: 'ready', stepName: 'cuda', memory: null });
    await device!.prepareTrie(trie);
    const shape = { vocabSize: 8, tokens: [{ offset: 0 }, { offset: 3 }] };
    device!.decide(trie, shape);
    const { live } = constraintSetFromItems(trie, leafItems, Uint32Array.of(0b000111, 0));
    expect(device!.prepareSet({ trie, live, dead: null })).toBeGreaterThan(0);
    const held = report(kernel);
    expect(held).toMatchObject({ state: 'running', stepName: 'cuda' });
    expect(held.message).toMatch(/^the 2 steps of 50 beams over 8 tokens take \d+ µs on .* and \d+ µs with /);
    expect(held.memory!.trieBytes).toBeGreaterThan(0);
    expect(held.memory!.setBytes).toBeGreaterThan(0);
    const excluding = { trie, live, dead: { leaves: Uint32Array.of(2) } };
    const including = { trie, live, dead: null };
    const batch = new StepBatch(1, 3);
    expect(firstCodes(kernel, including, batch)).toEqual([1, 0]);
    const { exclusionBytes } = report(kernel).memory!;
    expect(firstCodes(kernel, excluding, batch)).toEqual([0]);
    expect(report(kernel).memory!.exclusionBytes).toBeGreaterThan(exclusionBytes);
    // The next request's constraint takes its place, and nobody waits for the garbage collector.
    expect(firstCodes(kernel, including, batch)).toEqual([1, 0]);
    expect(report(kernel).memory!.exclusionBytes).toBe(exclusionBytes);
    device!.release(trie);
    expect(report(kernel)).toMatchObject({
      state: 'ready',
      memory: { trieBytes: 0, setBytes: 0, exclusionBytes: 0 },
    });
    expect(firstCodes(kernel, excluding, batch)).toEqual([0]);
    device!.close();
    device!.close();
    expect(report(kernel).memory).toBeNull();
  });

  it('are refused with the CPU’s words where arrays do not fit, and go on after that', () => {
    const kernel = forced(library);
    const batch = new StepBatch(1, 3);
    batch.begin([
      { constraint: { trie, live: null, dead: null }, beamWidth: 3, normalize: 'vocabulary', temperature: 1 },
    ]);
    const step = (one: Pick<Kernel, 'step'>) => () =>
      one.step(batch, { depth: 0, logits: new Float32Array(2), vocabSize: 2, tokens: { offset: 0 } });
    let words = '';
    try {
      step(chooseKernel('native'))();
    } catch (thrown) {
      words = (thrown as Error).message;
    }
    expect(words).not.toBe('');
    expect(step(kernel)).toThrow(expect.objectContaining({ code: 'ESP_SHAPE', message: words }));
    expect(firstCodes(kernel)).toEqual([2, 1, 0]);
    expect(report(kernel).state).toBe('ready');
    kernel.device!.close();
  });

  it('free at the end what was brought there and never decided, or is on its way', async () => {
    const counting = countingHandles();
    const { step, name: stepName } = chooseKernel('native');
    const host = { step, stepName };
    const device = new CudaSteps({
      addon: counting.addon,
      library,
      deviceName: 'a GPU',
      host,
      isForced: false,
    });
    await device.prepareTrie(trie);
    const other = buildStaticTrie({ codebookSizes: [3], rowCount: 1, codes: Uint16Array.of(1) }).trie;
    const underWay = device.prepareTrie(other);
    expect(counting.held()).toBe(1);
    device.close();
    expect(counting.held()).toBe(0);
    await underWay;
    expect(counting.uploads()).toBe(2);
    expect(counting.held()).toBe(0);
  });

  it('run by themselves only where they were compared, and faster', async () => {
    const shape = { vocabSize: 8, tokens: [{ offset: 0 }, { offset: 3 }] };
    const finding = lookForCuda(library);
    const { step, name: stepName } = chooseKernel('native');
    const slow: Kernel['step'] = (batch, input) => {
      for (const startMs = performance.now(); performance.now() - startMs < 20; );
      step(batch, input);
    };
    const addon = loadAddon().addon as Addon;
    const decide = async (host: Kernel['step']) => {
      const deviceName = finding.device!.name;
      const device = new CudaSteps({
        addon,
        library,
        deviceName,
        host: { step: host, stepName },
        isForced: false,
      });
      await device.prepareTrie(trie);
      device.decide(trie, shape);
      expect(firstCodes(device)).toEqual([2, 1, 0]);
      const found = device.report();
      device.close();
      return found;
    };
    expect(await decide(slow)).toMatchObject({ state: 'running', stepName: 'cuda' });
    // A real device may be faster than the CPU here; the emulated one never is.
    if (realCudaLibrary !== undefined) return;
    const lost = await decide(step);
    expect(lost).toMatchObject({ state: 'ready', stepName, isProblem: false, memory: { trieBytes: 0 } });
    expect(lost.message).toMatch(/ take \d+ µs on .* and \d+ µs with /);
  });

  it('are compared once for catalogs that are alike, and again for one of another size', async () => {
    const { step, name: stepName } = chooseKernel('native');
    let hostSteps = 0;
    const counting: Kernel['step'] = (batch, input) => {
      hostSteps++;
      step(batch, input);
    };
    const host = { step: counting, stepName };
    const addon = loadAddon().addon as Addon;
    const device = new CudaSteps({ addon, library, deviceName: 'a GPU', host, isForced: false });
    const random = new Random(3);
    const ofRows = (rowCount: number) => {
      const codes = Uint16Array.from({ length: rowCount * 2 }, () => random.below(256));
      return buildStaticTrie({ codebookSizes: [256, 256], rowCount, codes }).trie;
    };
    const shape = { vocabSize: 256, tokens: [{ offset: 0 }, { offset: 0 }] };
    /** Host steps of the comparison. */
    const stepsToDecide = async (one: TrieArrays) => {
      const before = hostSteps;
      await device.prepareTrie(one);
      device.decide(one, shape);
      return hostSteps - before;
    };
    expect(await stepsToDecide(ofRows(40))).toBeGreaterThan(0);
    expect(await stepsToDecide(ofRows(45))).toBe(0);
    expect(await stepsToDecide(ofRows(3000))).toBeGreaterThan(0);
    expect(await stepsToDecide(ofRows(3100))).toBe(0);
    device.close();
  });

  it('do not run where one of them is wrong', () => {
    const { step } = chooseKernel('native');
    const shape = { vocabSize: 8, tokens: [{ offset: 0 }, { offset: 3 }] };
    const wrong =
      (spoil: (batch: StepBatch) => void): Kernel['step'] =>
      (batch, input) => {
        step(batch, input);
        if (input.depth === 1) spoil(batch);
      };
    const compare = (device: Kernel['step']) => compareSteps(device, step, trie, shape).difference;
    expect(compare(step)).toBeNull();
    expect(compare(wrong((batch) => batch.codes[1]++))).toMatch(
      /^step 1: child 1: expected codes \d, found \d$/,
    );
    expect(compare(wrong((batch) => batch.counts[0]--))).toBe('step 1: expected 6 children, found 5');
    expect(compare(wrong((batch) => batch.childScores[0]++))).toMatch(
      /^step 1: child 0: expected childScores /,
    );
    expect(compare(wrong((batch) => batch.normalizers[2]++))).toMatch(/^step 1: beam 2: expected logSumExp /);
  });

  it('leave building, sets and scans to the CPU, and a GPU alone where it is not wanted', () => {
    const kernel = forced(library);
    expect([kernel.name, kernel.stepName]).toEqual([bestNative, 'cuda']);
    expect(chooseHostKernel('cuda').name).toBe(bestNative);
    const { finding } = kernel;
    // Until a trie of a model was compared, nothing is known of its steps.
    expect(chooseKernel('auto', 1, finding).stepName).toBe(bestNative);
    expect(chooseKernel('scalar', 1, finding).device).toBeUndefined();
    expect(chooseKernel('cuda', 1, cudaOff('in a test')).stepName).toBe(bestNative);
  });
});

describe.skipIf(noDevice)(named('the addon’s handles of a GPU', noDevice), () => {
  const addon = loadAddon().addon as Addon;
  let library: string;
  beforeAll(() => {
    library = realCudaLibrary ?? emulatedCuda();
  });

  function refused(call: () => unknown, message: string): void {
    expect(() => callNative(call)).toThrow(
      expect.objectContaining({ code: 'ESP_SHAPE', message: expect.stringContaining(message) }),
    );
  }

  it('are known by their kind, and disposed as often as one likes', async () => {
    const context = addon.cudaOpen(library, 0);
    const handle = await addon.cudaUploadTrie(context, handleOf(addon, trie));
    const again = addon.cudaUploadTrieNow(context, handleOf(addon, trie));
    // Each upload is a copy of its own.
    expect(addon.cudaMemory(context).trieBytes).toBe(
      addon.cudaTrieBytes(handle) + addon.cudaTrieBytes(again),
    );
    addon.cudaDispose(again);
    const { live } = constraintSetFromItems(trie, leafItems, Uint32Array.of(0b111, 0));
    const set = addon.cudaUploadSet(handle, live);
    const constraint = addon.cudaCreateConstraint(handle, set, null);
    const stepper = addon.cudaCreateStepper(context);
    const batch = new StepBatch(1, 3);
    batch.begin([
      { constraint: { trie, live, dead: null }, beamWidth: 3, normalize: 'vocabulary', temperature: 1 },
    ]);
    const bound = addon.cudaBindBatch(batch);
    addon.cudaSetConstraints(bound, [constraint]);
    const step = () => addon.cudaStep(stepper, bound, 0, Float32Array.of(1, 2, 4), 3, 0);
    step();
    expect(batch.counts[0]).toBe(2);

    refused(() => addon.cudaUploadSet(context as never, live), 'expected the handle of a trie on a GPU');
    refused(
      () => addon.cudaUploadTrieNow(handle as never, handleOf(addon, trie)),
      'the handle of a CUDA context',
    );
    refused(() => addon.cudaDispose({} as never), 'expected the handle');
    refused(
      () => addon.cudaUploadSet(handle, { ...live, leafBits: new Uint32Array(8) }),
      'leafBits must have 2',
    );
    refused(() => addon.cudaCreateConstraint(handle, set, Uint32Array.of(3, 1)), 'dead leaves must ascend');

    for (const part of [
      set,
      constraint,
      handle,
      stepper,
      context,
      set,
      constraint,
      handle,
      stepper,
      context,
    ]) {
      addon.cudaDispose(part);
    }
    refused(step, 'has been disposed');
    refused(() => addon.cudaTrieBytes(handle), 'has been disposed');
    refused(() => addon.cudaMemory(context), 'has been disposed');
  });
});

describe.skipIf(noEmulation)(named('a GPU that fails', noEmulation), () => {
  it('amid decodes: the CPU makes the step again and all that follow, with the reason said', () => {
    const kernel = forced(emulatedCuda('fail-launch=3'));
    for (let decode = 0; decode < 5; decode++) expect(firstCodes(kernel)).toEqual([2, 1, 0]);
    const { state, message, stepName, isProblem } = report(kernel);
    expect([state, stepName, isProblem]).toEqual(['failed', bestNative, true]);
    expect(message).toMatch(new RegExp(`^the GPU failed, and steps run with ${bestNative}: ESP_SYSTEM: .`));
  });

  it('has no room for a catalog: the CPU runs it, with the numbers said', async () => {
    const kernel = forced(emulatedCuda('memory=1000'));
    await kernel.device!.prepareTrie(trie);
    kernel.device!.decide(trie, { vocabSize: 8, tokens: [{ offset: 0 }, { offset: 3 }] });
    expect(firstCodes(kernel)).toEqual([2, 1, 0]);
    const { state, message, isProblem, stepName } = report(kernel);
    expect([state, isProblem, stepName]).toEqual(['ready', true, bestNative]);
    expect(message).toMatch(/^a catalog runs with \w+: .*\d+.*\d+/);
    // A catalog that comes in its place may have room again.
    kernel.device!.release(trie);
    expect(report(kernel).stepName).toBe('cuda');
  });

  it('has no room for one catalog: another runs there, and its name is said', () => {
    const rowCount = 100_000;
    const random = new Random(5);
    const codes = Uint16Array.from({ length: rowCount * 3 }, () => random.below(64));
    const large = buildStaticTrie({ codebookSizes: [64, 64, 64], rowCount, codes }).trie;
    const { device } = forced(emulatedCuda('memory=400000'));
    device!.decide(large, { vocabSize: 64, tokens: [{ offset: 0 }, { offset: 0 }, { offset: 0 }] });
    expect(device!.report()).toMatchObject({ state: 'ready', isProblem: true, stepName: bestNative });
    device!.decide(trie, { vocabSize: 8, tokens: [{ offset: 0 }, { offset: 3 }] });
    expect(device!.report()).toMatchObject({ state: 'running', stepName: 'cuda' });
    device!.close();
  });

  it('runs out of memory anywhere: every step is answered, and the GPU is kept', () => {
    const found = lookForCuda(emulatedCuda());
    const excluding: Constraint = { trie, live: null, dead: { leaves: Uint32Array.of(0, 1, 2) } };
    let keptCount = 0;
    for (let allocation = 1, isFine = false; !isFine; allocation++) {
      expect(allocation).toBeLessThan(60);
      const library = emulatedCuda(`fail-allocation=${allocation}`);
      const kernel = chooseKernel('cuda', 1, { ...found, library });
      expect(firstCodes(kernel, excluding)).toEqual([2]);
      isFine = !report(kernel).isProblem;
      expect(report(kernel).state).not.toBe('failed');
      expect(firstCodes(kernel)).toEqual([2, 1, 0]);
      // Unless it had no room for the trie, the next step runs there.
      const { memory } = report(kernel);
      if (memory !== null && memory.trieBytes > 0) {
        expect(memory.scratchBytes).toBeGreaterThan(0);
        keptCount++;
      }
      kernel.device!.close();
    }
    // Of the exclusions, and of a step's five pieces.
    expect(keptCount).toBeGreaterThanOrEqual(6);
  });
});

describe.skipIf(noEmulation)(named('sets on a GPU that fills up', noEmulation), () => {
  const rowCount = 20_000;
  const random = new Random(7);
  const large = buildStaticTrie({
    codebookSizes: [64, 64, 64],
    rowCount,
    codes: Uint16Array.from({ length: rowCount * 3 }, () => random.below(64)),
  });
  let library: string;
  let setBytes: number;

  beforeAll(() => {
    library = emulatedCuda();
    const { device } = opened();
    const set = everyNth(2);
    decode(device, new StepBatch(2, 8), set, set);
    const { trieBytes, scratchBytes, ...memory } = device.report().memory!;
    device.close();
    setBytes = memory.setBytes;
    // Of all memory a 16th stays in reserve; beside the trie and a step's scratch there is room for a few sets.
    library = emulatedCuda(`memory=${Math.ceil(((trieBytes + scratchBytes + 6.5 * setBytes) * 16) / 15)}`);
  });

  /** Steps on the device, which count those that the CPU makes. */
  function opened(): { device: CudaSteps; hostSteps: () => number } {
    const { step, name: stepName } = chooseKernel('native');
    let hostSteps = 0;
    const counting: Kernel['step'] = (batch, input) => {
      hostSteps++;
      step(batch, input);
    };
    const addon = loadAddon().addon as Addon;
    const host = { step: counting, stepName };
    const device = new CudaSteps({ addon, library, deviceName: 'a GPU', host, isForced: true });
    device.decide(large.trie, { vocabSize: 64, tokens: [{ offset: 0 }, { offset: 0 }, { offset: 0 }] });
    hostSteps = 0;
    return { device, hostSteps: () => hostSteps };
  }

  /** Every `nth` item. */
  function everyNth(nth: number): Constraint {
    const { leafItems } = large;
    const bits = new Uint32Array(Math.ceil(leafItems.itemCount / 64) * 2);
    for (let item = 0; item < leafItems.itemCount; item += nth) bits[item >> 5] |= 1 << (item & 31);
    return { trie: large.trie, live: constraintSetFromItems(large.trie, leafItems, bits).live, dead: null };
  }

  const leavesOf = ({ live }: Constraint) =>
    Uint32Array.from({ length: large.trie.leafCount }, (_, leaf) => leaf).filter(
      (leaf) => ((live!.leafBits[leaf >> 5] >>> (leaf & 31)) & 1) === 1,
    );

  function decode(device: CudaSteps, batch: StepBatch, ...constraints: Constraint[]): void {
    batch.begin(
      constraints.map((constraint) => ({
        constraint,
        beamWidth: 4,
        normalize: 'vocabulary' as const,
        temperature: 1,
      })),
    );
    const logits = Float32Array.from({ length: constraints.length * 64 }, (_, index) => Math.sin(index));
    device.step(batch, { depth: 0, logits, vocabSize: 64, tokens: { offset: 0 } });
  }

  // Held as a catalog holds them.
  const held: Constraint[] = [];

  /** Named sets, until there is no room for another. */
  function fill(device: CudaSteps): { fitting: Constraint; noRoom: Constraint } {
    const fitting = everyNth(2);
    expect(device.prepareSet(fitting)).toBeGreaterThan(0);
    for (let nth = 3; nth < 40; nth++) {
      const set = everyNth(nth);
      if (device.prepareSet(set) === 0) return { fitting, noRoom: set };
      held.push(set);
    }
    throw new Error('the device has room for everything');
  }
  it('keep no exclusions of batches that the CPU runs, and no set is blamed for another', () => {
    const { device, hostSteps } = opened();
    const batch = new StepBatch(2, 8);
    decode(device, batch, everyNth(1), everyNth(1));
    const { fitting, noRoom } = fill(device);
    const leaves = leavesOf(fitting);
    const excluding = () => ({ ...fitting, dead: { leaves: leaves.slice(0, 5) } });
    const before = device.report().memory!;
    const steps = hostSteps();
    for (let request = 0; request < 100; request++) decode(device, batch, excluding(), noRoom);
    expect(hostSteps() - steps).toBe(100);
    expect(device.report().memory!.exclusionBytes).toBeLessThanOrEqual(before.exclusionBytes);
    decode(device, batch, excluding(), excluding());
    expect(hostSteps() - steps).toBe(100);
    // Exclusions for which there is no room: a request's misfortune, not its set's.
    const heavy = () => ({ ...fitting, dead: { leaves: leaves.slice(0, 9_000) } });
    decode(device, batch, heavy(), heavy());
    expect(hostSteps() - steps).toBe(101);
    expect(device.report()).toMatchObject({
      state: 'running',
      isProblem: true,
      message: expect.stringMatching(/^a request runs with .*: out of memory: .*\d+/),
    });
    decode(device, batch, excluding(), excluding());
    expect(hostSteps() - steps).toBe(101);
    device.close();
  });

  it('go when they are dropped', () => {
    const { device, hostSteps } = opened();
    const { fitting, noRoom } = fill(device);
    const batch = new StepBatch(1, 4);
    const excluding = { ...fitting, dead: { leaves: leavesOf(fitting).slice(0, 5) } };
    decode(device, batch, fitting);
    decode(device, batch, excluding);
    const before = device.report().memory!.setBytes;
    device.dropSet(fitting.live!);
    expect(before - device.report().memory!.setBytes).toBe(setBytes);
    // There is room for another again; or for this one, if it is used all the same.
    device.dropSet(noRoom.live!);
    expect(device.prepareSet(noRoom)).toBeGreaterThan(0);
    const steps = hostSteps();
    decode(device, batch, noRoom);
    expect(hostSteps()).toBe(steps);
    device.dropSet(noRoom.live!);
    decode(device, batch, excluding);
    expect(hostSteps()).toBe(steps);
    device.close();
  });

  it('make room for each other, where nobody has named them', () => {
    const { device, hostSteps } = opened();
    const batch = new StepBatch(1, 4);
    const all: Constraint[] = [];
    for (let nth = 2; nth < 40; nth++) {
      all.push(everyNth(nth));
      decode(device, batch, all.at(-1)!);
    }
    expect([hostSteps(), device.report().isProblem]).toEqual([0, false]);
    expect(device.report().memory!.setBytes).toBeLessThanOrEqual(7 * setBytes);
    device.close();
  });
});

describe.skipIf(noDevice)(named('the retail demo on a GPU', noDevice), () => {
  const events: EngineEvent[] = [];
  const engines: DecodeEngine[] = [];
  let version: CatalogVersion;

  beforeAll(async () => {
    const { path, version: built } = await buildRetailCatalog();
    version = built;
    const kernel = forced(realCudaLibrary ?? emulatedCuda());
    engines.push(await retailEngine(kernel, path, (event) => events.push(event)));
    engines.push(await retailEngine(chooseKernel('native'), path));
  });
  afterAll(async () => {
    for (const engine of engines) await engine.close();
  });

  it('gives the answers of the native kernel', async () => {
    for (const one of goldenQueries().filter((_, index) => index % 3 === 0)) {
      const [found, expected] = [await engines[0].recommend(one), await engines[1].recommend(one)];
      expect(expected.items.length).toBeGreaterThan(0);
      expect(answerDifference(found, expected)).toBeNull();
    }
    expect(events.at(-1)).toMatchObject({ device: { state: 'running', stepName: 'cuda' } });
  });

  it('frees sets that no request can ask for any more', async () => {
    const [engine] = engines;
    const setOf = (...items: number[]) => {
      const bits = new Uint32Array(Math.ceil(version.leafItems.itemCount / 64) * 2);
      for (const item of items) bits[item >> 5] |= 1 << (item & 31);
      return constraintSetFromItems(version.trie, version.leafItems, bits);
    };
    const put = (...items: number[]) =>
      engine.putSet('retail', {
        name: 'few',
        catalogVersion: 1,
        version: 1,
        expiresAtMs: null,
        rule: null,
        changesUpTo: 0,
        set: setOf(...items),
      });
    const setBytes = () => {
      const { device } = events.at(-1) as { device: DeviceReport };
      return device.memory!.setBytes;
    };
    const [{ history, k, beamWidth }] = goldenQueries();
    put(1, 2, 3);
    const [before, one] = [setBytes(), setOf(1)];
    put(2, 3, 4);
    expect(setBytes()).toBe(before);
    const ask = (constraint: RecommendQuery['constraint']) =>
      engine.recommend(query({ history, k, beamWidth, constraint }));
    await ask({ set: 'few' });
    await ask({ include: [version.ids.at(0), version.ids.at(9)] });
    await ask({ include: [version.ids.at(5)] });
    put(2, 3, 4);
    expect(setBytes()).toBe(before);
    engine.deleteSet('retail', 'few');
    expect(before - setBytes()).toBeGreaterThanOrEqual(one.live.leafBits.byteLength);
  });

  it('frees a catalog that serves no more', () => {
    engines[0].removeCatalog('retail');
    expect(events.at(-1)).toMatchObject({
      device: { state: 'ready', memory: { trieBytes: 0, setBytes: 0 } },
    });
  });
});

describe.skipIf(noEmulation)(named('a server on a GPU that fails', noEmulation), () => {
  it('answers on, and health and metrics say since when not on the GPU', async () => {
    vi.stubEnv('ESPALIER_CUDA_LIBRARY', emulatedCuda('fail-launch=40'));
    vi.stubEnv('ESPALIER_KERNELS', 'cuda');
    const server = await startTestServer(makeDataDir(), ['--decode-engines', '1']);
    vi.unstubAllEnvs();
    const health = async () => (await send(server, 'GET', '/healthz')).body;
    expect(await health()).toMatchObject({ step: 'cuda', cuda: { state: 'ready' } });
    await makeSmallCatalog(server);
    const metrics = async () => (await fetch(`${server.url}/metrics`)).text();
    const seen = new Set<string>();
    for (let request = 0; request < 60; request++) {
      expect(await idsUnder(server, { filter: 'colour == "red"' })).toEqual(['0-0', '1-0']);
      const { step, cuda } = await health();
      seen.add(`${cuda.state} ${step}`);
      if (cuda.state === 'running')
        expect(await metrics()).toMatch(/espalier_cuda_bytes\{kind="trie"\} [1-9]/);
      if (cuda.state === 'failed') {
        expect(cuda.message).toContain('the GPU failed');
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect([...seen]).toContain(`failed ${bestNative}`);
    expect(await metrics()).toContain('espalier_cuda_info{state="failed",device="emulated on the CPU"} 1');
    expect(await metrics()).toContain(`espalier_kernel_info{kernel="${bestNative}",step="${bestNative}"} 1`);
    expect(await metrics()).toContain('espalier_cuda_bytes{kind="trie"} 0');
    await server.stop();
  });
});

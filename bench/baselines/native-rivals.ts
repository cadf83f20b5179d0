import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Opaque; what was given to make them must live as long. */
export type RivalHandle = { readonly rivalHandle: unique symbol };
export type BatchHandle = { readonly rivalBatchHandle: unique symbol };
export type NativeArray = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float32Array;

/** The addon of bench/native: rivals' steps in C++. Nothing is checked. */
export interface NativeRivals {
  createRival(kind: string, arrays: readonly NativeArray[], numbers: readonly number[]): RivalHandle;
  /** scores, nodeLo, nodeHi, normalizers, childScores, parentBeams, codes, childLo, childHi */
  bindBatch(arrays: readonly NativeArray[]): BatchHandle;
  /** One request's step. @returns children kept */
  step(
    rival: RivalHandle,
    batch: BatchHandle,
    logits: Float32Array,
    vocabSize: number,
    depth: number,
    firstRow: number,
    firstBeam: number,
    beamCount: number,
    firstChild: number,
    beamWidth: number,
  ): number;
  fillBitmap(rows: NativeArray, rowCount: number, levels: number, bitmap: Uint32Array, bits: number): void;
  /** @param out [2] the low and the high half */
  hashOf(prefix: Uint32Array, out: Uint32Array): void;
}

interface Loaded {
  addon: NativeRivals | null;
  /** Why there is none. */
  reason: string;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const sources = join(root, 'bench', 'native');
let loaded: Loaded | undefined;

/** The native rivals, compiled for this machine when they are first asked for; or why there are none. */
export function loadNativeRivals(): Loaded {
  loaded ??= load();
  return loaded;
}

/** @throws Error where they cannot be built */
export function nativeRivals(): NativeRivals {
  const { addon, reason } = loadNativeRivals();
  if (addon === null) throw new Error(reason);
  return addon;
}

function load(): Loaded {
  const built = join(root, 'build', 'bench', `rivals-${fingerprint()}.node`);
  try {
    if (!existsSync(built)) build(built);
    return { addon: createRequire(import.meta.url)(built) as NativeRivals, reason: '' };
  } catch (thrown) {
    const { message } = thrown as Error;
    return { addon: null, reason: `the native rivals could not be built: ${message}` };
  }
}

/** Of all that the result depends on: it is compiled for this machine's own processor. */
function fingerprint(): string {
  const hash = createHash('sha256').update(`${process.version} ${process.arch} ${cpus()[0]?.model}`);
  for (const name of readdirSync(sources).sort()) hash.update(readFileSync(join(sources, name)));
  return hash.digest('hex').slice(0, 16);
}

/** Builds elsewhere and moves the result into its place, so that two that build at once don't meet. */
function build(target: string): void {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-rivals-'));
  try {
    cpSync(sources, folder, { recursive: true });
    const headers = dirname(dirname(process.execPath));
    const hasHeaders = existsSync(join(headers, 'include', 'node', 'node_api.h'));
    const options = hasHeaders ? [`--nodedir=${headers}`] : [];
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [findNodeGyp(), 'configure', 'build', ...options],
      { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 26 },
    );
    const made = join(folder, 'build', 'Release', 'rivals.node');
    if (status !== 0 || !existsSync(made)) {
      throw new Error(`${stdout}${stderr}`.trim().split('\n').slice(-6).join(' | '));
    }
    mkdirSync(dirname(target), { recursive: true });
    const beside = `${target}.${process.pid}`;
    cpSync(made, beside);
    renameSync(beside, target);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The one that comes with the npm that runs this, or with the npm beside this Node. */
function findNodeGyp(): string {
  const inNpm = ['node_modules', 'node-gyp', 'bin', 'node-gyp.js'];
  const candidates = [
    process.env.npm_config_node_gyp,
    process.env.npm_execpath && join(dirname(process.env.npm_execpath), '..', ...inNpm),
    join(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm', ...inNpm),
  ];
  const found = candidates.find((path) => path && existsSync(path));
  if (!found) throw new Error('node-gyp, which comes with npm, was not found');
  return found;
}

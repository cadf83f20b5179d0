import { spawnSync } from 'node:child_process';
import { basename } from 'node:path';
import { addonPath, type CudaDevice } from '../native/addon.js';

/** A driver that has to load its module answers within a second or two. */
const LIMIT_MS = 10_000;

/** What the child runs: its arguments are the addon's path and the library's. */
const SCRIPT = `
  const [, addon, library] = process.argv;
  try {
    console.log('\\n' + JSON.stringify(require(addon).cudaProbe(library, 0)));
  } catch (thrown) {
    console.log('\\n' + JSON.stringify({ abi: null, reason: thrown.message, device: null }));
  }`;

export interface Probed {
  state: 'unusable' | 'usable';
  /** What was found, or why steps cannot run there. */
  message: string;
  abi: number | null;
  device: CudaDevice | null;
}

/**
 * Loads the library and asks it for a device, in a process of its own: a broken driver can crash or hang whoever asks.
 * @param library absolute path of a file that is there
 */
export function probeCuda(library: string, limitMs: number = LIMIT_MS): Probed {
  const { status, signal, error, stdout } = spawnSync(process.execPath, ['-e', SCRIPT, addonPath, library], {
    encoding: 'utf8',
    timeout: limitMs,
    killSignal: 'SIGKILL',
    stdio: ['ignore', 'pipe', 'ignore'],
    // What this process was started with is not for the child.
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT') {
    return unusable(`the probe of the GPU did not answer within ${limitMs / 1000} s`);
  }
  if (signal !== null) return unusable(`the probe of the GPU died with ${signal}`);
  if (status !== 0) return unusable(`the probe of the GPU ended with ${error?.message ?? `code ${status}`}`);
  const answer = parse(stdout);
  if (answer === undefined) return unusable('the probe of the GPU gave no answer');
  const { abi, reason, device } = answer;
  if (reason !== null) return unusable(withoutPath(reason, library), abi, device);
  return { state: 'usable', message: describeDevice(device!), abi, device };
}

/** e.g. `NVIDIA H100 80GB HBM3 (compute 9.0, 85.0 GB, driver for CUDA 12.4)` */
export function describeDevice(device: CudaDevice): string {
  const { name, computeMajor, computeMinor, totalBytes, driverVersion } = device;
  const memory = `${(totalBytes / 1e9).toFixed(1)} GB`;
  return `${name} (compute ${computeMajor}.${computeMinor}, ${memory}, driver for CUDA ${cudaVersion(driverVersion)})`;
}

/** 12040 is 12.4. */
export function cudaVersion(version: number): string {
  return `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`;
}

function unusable(message: string, abi: number | null = null, device: CudaDevice | null = null): Probed {
  return { state: 'unusable', message, abi, device };
}

/** What the loader says names the file; callers of the server need not know where it lies. */
function withoutPath(reason: string, library: string): string {
  return reason.replaceAll(library, basename(library)).split('\n')[0];
}

type Answer = { abi: number | null; reason: string | null; device: CudaDevice | null };

/** The last line: libraries may have printed others before. */
function parse(stdout: string): Answer | undefined {
  try {
    const answer = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Partial<Answer> | null;
    const isFailure = typeof answer?.reason === 'string';
    const isDevice = answer?.reason === null && typeof answer.device?.name === 'string';
    return isFailure || isDevice ? (answer as Answer) : undefined;
  } catch {
    return undefined;
  }
}

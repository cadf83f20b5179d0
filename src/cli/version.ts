import { EspalierError } from '../errors.js';
import { type CudaFinding, chooseKernel, cudaVersion, findCudaFor, usableLevels } from '../kernels/index.js';
import { packageVersion } from '../server/index.js';
import { UsageError } from './usage-error.js';

/** `espalier --version [--verbose]`: with --verbose also what would run here, and on which device. */
export function version([verbose, ...rest]: string[]): number {
  const unexpected = verbose === undefined || verbose === '--verbose' ? rest : [verbose, ...rest];
  if (unexpected.length > 0) throw new UsageError(`unexpected ${unexpected.join(' ')}`);
  console.log(verbose === undefined ? packageVersion() : describe());
  return 0;
}

function describe(): string {
  const cuda = findCudaFor();
  const levels = ['js', ...usableLevels().map(({ name }) => name)];
  const runs = describeChoice(cuda);
  const rows = [
    ['espalier', packageVersion()],
    ['node', process.version],
    ['kernels', `${levels.join(', ')}; runs: ${runs}`],
    ...describeCuda(cuda).map((line, index) => [index === 0 ? 'cuda' : '', line]),
  ];
  return rows.map(([name, text]) => `${name.padEnd(11)}${text}`).join('\n');
}

/** What would run, or why nothing would: somebody may be looking for just that. */
function describeChoice(cuda: CudaFinding): string {
  try {
    const { name, stepName } = chooseKernel(undefined, 1, cuda);
    return [...new Set([name, stepName])].join(', steps: ');
  } catch (thrown) {
    return `nothing, ${EspalierError.from(thrown).message}`;
  }
}

function describeCuda({ state, message, library, abi, device }: CudaFinding): string[] {
  const lines = [`${state}: ${message}`];
  if (library !== null) lines.push(`library ${library}`);
  if (abi !== null) lines.push(`ABI ${abi}`);
  if (device !== null && device.driverVersion > 0) {
    lines.push(
      `driver for CUDA ${cudaVersion(device.driverVersion)}, library for CUDA ${cudaVersion(device.runtimeVersion)}`,
    );
  }
  if (device !== null && device.totalBytes > 0) {
    const { freeBytes, totalBytes, multiprocessorCount } = device;
    const free = (freeBytes / 1e9).toFixed(1);
    lines.push(
      `memory ${free} GB free of ${(totalBytes / 1e9).toFixed(1)}, ${multiprocessorCount} multiprocessors`,
    );
  }
  return lines;
}

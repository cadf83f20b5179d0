import { EspalierError } from '../errors.js';
import { createJsKernel } from './js-kernel.js';
import type { Kernel } from './types.js';

/** Every kernel by its name; the first is what `auto` takes. */
const kernels: Record<string, () => Kernel> = { js: createJsKernel };

/**
 * The kernel that `ESPALIER_KERNELS` names, or the best there is.
 * @throws EspalierError ESP_KERNEL_UNKNOWN on any other name: a typing error must not change what runs.
 */
export function chooseKernel(wanted: string | undefined = process.env.ESPALIER_KERNELS): Kernel {
  const name = wanted === undefined || wanted === '' || wanted === 'auto' ? Object.keys(kernels)[0] : wanted;
  const create = Object.hasOwn(kernels, name) ? kernels[name] : undefined;
  if (create === undefined) {
    const names = ['auto', ...Object.keys(kernels)].join(', ');
    throw new EspalierError(
      'ESP_KERNEL_UNKNOWN',
      `ESPALIER_KERNELS must be one of ${names}, found "${name}"`,
    );
  }
  return create();
}

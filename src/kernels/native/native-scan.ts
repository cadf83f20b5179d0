import { wordsFor } from '../bits.js';
import type { Scan, ScanProgram } from '../scan.js';
import { type Addon, callNative, nativeThreads } from './addon.js';

/** The scan at one instruction set, an esp_level. */
export function createNativeScan(addon: Addon, level: number): Scan {
  return ({ leaves, postfix, itemCount }: ScanProgram, threads = nativeThreads): Uint32Array => {
    const out = new Uint32Array(wordsFor(itemCount));
    callNative(() => addon.scan(level, threads, leaves, postfix, itemCount, out));
    return out;
  };
}

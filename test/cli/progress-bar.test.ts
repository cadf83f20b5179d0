import { describe, expect, it } from 'vitest';
import { withProgressBar } from '../../src/cli/progress-bar.js';

function streamOf(isTTY: boolean) {
  const written: string[] = [];
  return { isTTY, written, write: (text: string) => written.push(text) };
}

describe('the progress bar', () => {
  it('shows each step once on a terminal, and removes itself', async () => {
    const stream = streamOf(true);
    const result = await withProgressBar((onProgress) => {
      onProgress('building', 0.5);
      onProgress('building', 0.5001);
      onProgress('building', 1);
      return 7;
    }, stream);
    expect(result).toBe(7);
    expect(stream.written).toEqual([
      `\r\x1b[K${'building'.padEnd(10)} [${'#'.repeat(15)}${'.'.repeat(15)}]  50 %`,
      `\r\x1b[K${'building'.padEnd(10)} [${'#'.repeat(30)}] 100 %`,
      '\r\x1b[K',
    ]);
  });

  it('removes itself when the work fails', async () => {
    const stream = streamOf(true);
    const work = withProgressBar((onProgress) => {
      onProgress('writing', 0);
      throw new Error('full');
    }, stream);
    await expect(work).rejects.toThrow('full');
    expect(stream.written.at(-1)).toBe('\r\x1b[K');
  });

  it('is silent where no one looks', async () => {
    const stream = streamOf(false);
    await withProgressBar((onProgress) => onProgress('building', 0.5), stream);
    expect(stream.written).toEqual([]);
  });
});

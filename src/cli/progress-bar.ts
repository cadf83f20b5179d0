import type { Progress } from '../static-trie/index.js';

const WIDTH = 30;

/** A terminal, or what stands for one in a test. */
export interface BarStream {
  isTTY?: boolean;
  write(text: string): unknown;
}

/** Shows the progress of `work` on one line that it removes at the end; shows nothing where no one looks. */
export async function withProgressBar<Result>(
  work: (onProgress: Progress) => Promise<Result> | Result,
  stream: BarStream = process.stderr,
): Promise<Result> {
  if (!stream.isTTY) return work(() => {});
  let shown = '';
  const show = (line: string) => {
    if (line === shown) return;
    stream.write(`\r\x1b[K${line}`);
    shown = line;
  };
  try {
    return await work((phase, fraction) => {
      const filled = Math.round(Math.min(1, Math.max(0, fraction)) * WIDTH);
      const bar = '#'.repeat(filled).padEnd(WIDTH, '.');
      show(`${phase.padEnd(10)} [${bar}] ${String(Math.floor(fraction * 100)).padStart(3)} %`);
    });
  } finally {
    show('');
  }
}

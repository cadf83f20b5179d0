import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

/** Work that never ends, whoever asks it to. */
const script = `
import { listenForInterrupts } from './bench/harness/interrupt.ts';
const { signal } = listenForInterrupts(() => console.log('first'));
signal.addEventListener('abort', () => console.log('aborted'));
setInterval(() => {}, 1000);
console.log('ready');`;

it('the first interrupt asks, its echo does nothing, and the next one ends the process at once', async () => {
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
  });
  const until = async (word: string) => {
    while (!printed.includes(word)) await once(child.stdout, 'data');
  };
  try {
    await until('ready');
    child.kill('SIGINT');
    await until('first');
    child.kill('SIGINT');
    await sleep(1500);
    expect(child.exitCode ?? child.signalCode).toBeNull();
    expect(printed).toBe('ready\naborted\nfirst\n');
    child.kill('SIGINT');
    const [, signal] = await once(child, 'exit');
    expect(signal).toBe('SIGINT');
  } finally {
    child.kill('SIGKILL');
  }
});

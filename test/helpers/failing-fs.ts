import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const { fsyncSync, rmSync } = fs;

/**
 * Does something while the disk refuses: to make the names in folders durable; to remove what is in the trash. For all
 * modules of this process, which test files share.
 */
export async function whileRefused<Result>(
  what: 'sync' | 'removal',
  change: () => Result,
): Promise<Awaited<Result>> {
  if (what === 'sync') {
    fs.fsyncSync = (file) => {
      if (fs.fstatSync(file).isDirectory()) throw refusal('fsync');
      fsyncSync(file);
    };
  } else {
    fs.rmSync = (path, options) => {
      if (String(path).includes('/trash/')) throw refusal('rm');
      rmSync(path, options);
    };
  }
  syncBuiltinESMExports();
  try {
    return await change();
  } finally {
    Object.assign(fs, { fsyncSync, rmSync });
    syncBuiltinESMExports();
  }
}

function refusal(syscall: string): Error {
  return Object.assign(new Error(`EIO: i/o error, ${syscall}`), { code: 'EIO', errno: -5, syscall });
}

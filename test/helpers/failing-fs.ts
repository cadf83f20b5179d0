type FileSystem = typeof import('node:fs');

/** What the disk refuses now: to make the names in folders durable; to remove what is in the trash. */
let refused: 'sync' | 'removal' | null = null;

/** `node:fs` over a disk that refuses on demand: for `vi.mock`. */
export function failingFs(fs: FileSystem): FileSystem {
  return {
    ...fs,
    fsyncSync(file) {
      if (refused === 'sync' && fs.fstatSync(file).isDirectory()) throw refusal('fsync');
      fs.fsyncSync(file);
    },
    rmSync(path, options) {
      if (refused === 'removal' && String(path).includes('/trash/')) throw refusal('rm');
      fs.rmSync(path, options);
    },
  };
}

/** Does something while the disk refuses. */
export async function whileRefused<Result>(
  what: 'sync' | 'removal',
  change: () => Result,
): Promise<Awaited<Result>> {
  refused = what;
  try {
    return await change();
  } finally {
    refused = null;
  }
}

function refusal(syscall: string): Error {
  return Object.assign(new Error(`EIO: i/o error, ${syscall}`), { code: 'EIO', errno: -5, syscall });
}

// Builds the native kernels (build/Release/espalier.node) with node-gyp. They are never required: where they
// cannot be built, this says so once and succeeds, and everything runs on the js kernels.
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const addon = join(root, 'build', 'Release', 'espalier.node');
const LAST_LINES = 15;

const nodeGyp = findNodeGyp();
const problem = nodeGyp === undefined ? 'node-gyp, which comes with npm, was not found' : build(nodeGyp);
if (problem === undefined) {
  console.log('espalier: native kernels built');
} else {
  // A stale build would not fit its sources.
  rmSync(addon, { force: true });
  console.warn(
    `espalier: the native kernels could not be built; everything runs on the slower js kernels.\n` +
      `They need a C++17 compiler, make and Python 3 (Debian: apt-get install g++ make python3); ` +
      `then: npm rebuild espalier, or npm run build:native in a checkout.\n${problem}`,
  );
}

function build(script) {
  const { status, stdout, stderr, error } = spawnSync(
    process.execPath,
    [script, 'configure', 'build', '--jobs', 'max'],
    { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26 },
  );
  if (status === 0 && existsSync(addon)) return loads();
  const output = error?.message ?? `${stdout}${stderr}`;
  return output.trim().split('\n').slice(-LAST_LINES).join('\n');
}

/** In a process of its own: an addon that crashes while it is loaded must not take the install along. */
function loads() {
  const { status, stderr } = spawnSync(
    process.execPath,
    ['-e', `require(${JSON.stringify(addon)}).levels()`],
    {
      encoding: 'utf8',
    },
  );
  return status === 0 ? undefined : `it was built, but does not load: ${stderr.trim().split('\n').at(-1)}`;
}

/** The one that runs this install, or the one beside the npm that Node came with. */
function findNodeGyp() {
  const candidates = [process.env.npm_config_node_gyp];
  if (process.env.npm_execpath) {
    candidates.push(
      join(dirname(process.env.npm_execpath), '..', 'node_modules', 'node-gyp', 'bin', 'node-gyp.js'),
    );
  }
  try {
    candidates.push(createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js'));
  } catch {
    // Not installed here; npm's own will do.
  }
  return candidates.find((path) => path && existsSync(path));
}

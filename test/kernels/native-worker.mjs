// A thread with an addon of its own: maps the file it is given, builds, derives, and says what came out.
import { openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';

const addon = createRequire(import.meta.url)('../../build/Release/espalier.node');
const level = addon.levels().at(-1).level;
const { path, byteLength, codebookSizes, rowCount, dieWhileBuilding } = workerData;
const codes = new Uint16Array(addon.mapFile(openSync(path, 'r'), 0, byteLength));
const { trie } = addon.startBuild(codes, Uint32Array.from(codebookSizes), rowCount, 2, level, 1 << 20);
if (dieWhileBuilding) {
  parentPort.postMessage('building');
} else {
  const handle = await trie;
  const arrays = addon.builtArrays(handle);
  const leafBits = new Uint32Array(Math.ceil(arrays.leafCount / 64) * 2);
  leafBits[0] = 0b1001;
  const counts = new Float64Array(codebookSizes.length);
  addon.countLiveNodes(level, handle, leafBits, counts);
  parentPort.postMessage({ leafCount: arrays.leafCount, live: Array.from(counts), first: codes[0] });
}

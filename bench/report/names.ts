import type { RivalResult } from '../harness/types.js';

/** What a reader calls what the results have short names for. */

const suiteTitles: Record<string, string> = {
  step: 'The decode step',
  sets: 'Constraint sets',
  build: 'Building an index',
  rules: 'Rules',
  memory: 'Memory',
  decode: 'Whole decodes',
  serve: 'The server',
  upload: 'Uploads and changes',
  soak: 'Soak',
};

/** In the order of the report. */
export const suiteOrder = Object.keys(suiteTitles);

export function suiteTitle(suite: string): string {
  return suiteTitles[suite] ?? suite;
}

const axisTitles: Record<string, string> = {
  point: 'the usual point',
  constraints: 'constraints',
  vocabulary: 'vocabulary',
  branching: 'branching factor',
  beams: 'beams',
  batch: 'batch size',
  'sid-length': 'SID length',
  selectivity: 'share of the items that a set allows',
  sets: 'different sets in one batch',
  exclusions: 'excluded items',
  neighbours: 'busy neighbours',
  shape: 'how the SIDs are distributed',
  algebra: 'set algebra',
  predicates: 'predicates of a rule',
  decodable: 'share of the items that a rule allows, from its text to a set',
  open: 'opening a file of so many',
  constraint: 'the constraint of a request',
  contract: 'the contract of the model',
  clients: 'clients at once',
  load: 'load, as a share of what the server can take',
  health: 'the health resource, while the engine is',
};

export function axisTitle(axis: string): string {
  return axisTitles[axis] ?? axis.replaceAll('-', ' ');
}

/** What a way to constrain is, for those who meet its name in a table. */
const rivalNotes: Record<string, string> = {
  'log-sum-exp': 'no constraint, no beams: normalizes the logits and does nothing else',
  'log-sum-exp-2-threads': 'the log-sum-exp on two threads',
  unconstrained: 'no constraint: the best beams of the whole vocabulary',
  js: 'ours in JavaScript',
  'static-csr': "STATIC's layout (dense tables, then packed CSR), in C++",
  'array-trie': 'a trie in arrays, in C++',
  'array-trie-js': 'a trie in arrays, walked in JavaScript, normalized natively',
  'nested-map': 'a trie of nested Maps in JavaScript, normalized natively',
  'nested-map-all-js': 'a trie of nested Maps, everything in JavaScript: the CPU trie',
  'ppv-exact': 'binary search over sorted SIDs, every candidate',
  'ppv-approximate': 'binary search over sorted SIDs, the 50 best candidates only',
  'hash-bitmap': 'a bitmap of hashed prefixes; lets some through that no item has',
  'dense-mask': 'a mask over the vocabulary for every node',
  'post-filter': 'unconstrained, filtered afterwards',
  'dedicated-trie': 'a trie built for the set alone',
  cuda: 'ours on a GPU',
  overlay: 'ours, a set laid over the one trie',
  'js-sort-and-build': 'rows sorted, and lists of children made of them, in JavaScript',
  'numpy-lexsort': 'the sort of the rows alone, by numpy: it builds no index, so its results are no rival’s',
  'open-file': 'ours, the file of a trie that was built before, opened',
  'js-item-loop': 'a loop over the items in JavaScript, written for the one rule',
  copy: 'the columns that the rule reads, copied: evaluates nothing',
  'native-call':
    'a call of native code with three typed arrays of two words each, which is little but the call',
  'js-call': 'the same work as native-call in JavaScript, without the way to native code',
  'espalier-serve': 'our server with a catalog and its sets',
  'idle-server': 'our server before it has a catalog',
  http: 'our server, asked over HTTP',
  grpc: 'our server, asked over gRPC',
  healthz: 'our server’s health resource',
  'http-upload': 'ours, from the request with all items to the end of its job',
  'unpack-and-parse': 'the uploaded items unpacked and parsed as JSON: keeps nothing',
  'http-rule': 'ours, a rule changed over HTTP',
  'http-update': 'ours, items updated over HTTP',
  'http-remove': 'ours, items removed over HTTP',
  'http-activate': 'ours, a version of the catalog activated over HTTP',
  'http-health': 'the health resource asked over HTTP: what any answer costs',
};

/** Who does a part of the work alone, and which. */
const partsOfWork: Record<string, string> = { 'numpy-lexsort': 'sorts, and builds nothing' };

/** Where a rival's results are others than ours: what it says of itself, or that it does a part of the work alone. */
export function otherResultsNote({ name, isApproximate }: RivalResult): string | undefined {
  return partsOfWork[name] ?? (isApproximate ? 'other results' : undefined);
}

export function hasOtherResults(rival: RivalResult): boolean {
  return otherResultsNote(rival) !== undefined;
}

export function rivalNote(name: string): string {
  const known = rivalNotes[name];
  if (known !== undefined) return known;
  if (name.endsWith('-overlay-one-set')) return 'ours, every request under the same set';
  if (name.endsWith('-overlay')) return 'ours, a set laid over the one trie';
  if (name.endsWith('-exclusions')) return 'ours, with items excluded for the request';
  if (name.endsWith('-derive')) return 'ours, only what is live derived anew';
  if (/^(native-\w+|js)-2-threads$/.test(name)) return 'ours on two threads';
  if (/^native-(scalar|avx2|avx512|neon)$/.test(name))
    return `ours, ${name.slice('native-'.length)} instructions`;
  return '';
}
